package localapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
)

// Service is a service that a member announces (DNS-SD, RFC 6763): GET /browse and
// GET /services answer with lists of it, and `meshd browse --json` prints one.
// Fields are added, never renamed or removed.
type Service struct {
	Instance  string       `json:"instance"` // name for people
	Type      string       `json:"type"`     // like _http._tcp
	Member    string       `json:"member"`   // who announces it
	Host      string       `json:"host"`     // full name of where it is
	Addresses []netip.Addr `json:"addresses"`
	Port      uint16       `json:"port"`
	Text      []string     `json:"text"` // "key=value"
	Online    bool         `json:"online"`
	LAN       bool         `json:"lan,omitempty"` // of a host on Member's LAN, not in the mesh
}

// AnnounceRequest is the body of POST /services.
type AnnounceRequest struct {
	Type string   `json:"type"`           // http, or _http._tcp
	UDP  bool     `json:"udp,omitempty"`  // where Type doesn't say it
	Name string   `json:"name,omitempty"` // instance; "": the member's name
	Port uint16   `json:"port"`
	Text []string `json:"text,omitempty"`
	// FromLAN asks for all services of Type that this machine's LAN has by mDNS,
	// as long as they are there; then only Type and UDP count.
	FromLAN bool `json:"from_lan,omitempty"`
}

// UnannounceRequest is the body of POST /services/withdraw. Empty fields match all.
type UnannounceRequest struct {
	Type string `json:"type,omitempty"`
	UDP  bool   `json:"udp,omitempty"`
	Name string `json:"name,omitempty"`
	// FromLAN ends what [AnnounceRequest.FromLAN] began, of Type.
	FromLAN bool `json:"from_lan,omitempty"`
}

// Services is the part of [Backend] about services of the mesh.
type Services interface {
	// Announce has this machine offer a service to the mesh, from now on.
	Announce(context.Context, AnnounceRequest) (Service, error)
	// Unannounce withdraws those that match, and returns them.
	Unannounce(context.Context, UnannounceRequest) ([]Service, error)
	// Announced lists what this machine announces.
	Announced(context.Context) ([]Service, error)
	// Browse lists what members announce, of one type or ("") of any.
	Browse(ctx context.Context, typ string) ([]Service, error)
}

// services adds what is asked about services.
func (s *Server) services(mux *http.ServeMux) {
	mux.HandleFunc("POST /services", answer(func(r *http.Request) (any, error) {
		var req AnnounceRequest
		if err := readRequest(r, &req); err != nil {
			return nil, err
		}
		return s.Backend.Announce(r.Context(), req)
	}))
	mux.HandleFunc("POST /services/withdraw", answer(func(r *http.Request) (any, error) {
		var req UnannounceRequest
		if err := readRequest(r, &req); err != nil {
			return nil, err
		}
		return listed(s.Backend.Unannounce(r.Context(), req))
	}))
	mux.HandleFunc("GET /services", answer(func(r *http.Request) (any, error) {
		return listed(s.Backend.Announced(r.Context()))
	}))
	mux.HandleFunc("GET /browse", answer(func(r *http.Request) (any, error) {
		return listed(s.Backend.Browse(r.Context(), r.FormValue("type")))
	}))
}

// listed makes none an empty list.
func listed(list []Service, err error) (any, error) { return append([]Service{}, list...), err }

// readRequest refuses fields it does not know: a wish that is silently dropped is
// worse than an error.
func readRequest(r *http.Request, req any) error {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(req); err != nil {
		return &Error{Message: fmt.Sprintf("read the request: %v", err),
			Hint: "the daemon may be older than this command: restart it"}
	}
	return nil
}

// Announce has this machine offer a service to the mesh, from now on.
func (c *Client) Announce(ctx context.Context, req AnnounceRequest) (Service, error) {
	var s Service
	return s, c.do(ctx, http.MethodPost, "/services", req, &s)
}

// Unannounce withdraws services of this machine, and returns them.
func (c *Client) Unannounce(ctx context.Context, req UnannounceRequest) ([]Service, error) {
	var list []Service
	return list, c.do(ctx, http.MethodPost, "/services/withdraw", req, &list)
}

// Announced lists what this machine announces.
func (c *Client) Announced(ctx context.Context) ([]Service, error) {
	var list []Service
	return list, c.do(ctx, http.MethodGet, "/services", nil, &list)
}

// Browse lists what members announce, of one type or ("") of any.
func (c *Client) Browse(ctx context.Context, typ string) ([]Service, error) {
	var list []Service
	return list, c.do(ctx, http.MethodGet, "/browse?"+url.Values{"type": {typ}}.Encode(), nil, &list)
}
