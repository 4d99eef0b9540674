package localapi

import (
	"context"
	"net/http"
)

// Setting is something that the owner may choose: an element of the answer to
// GET /settings, and of what `meshd get --json` prints. Fields are added, never
// renamed or removed.
type Setting struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Valid   string `json:"valid"` // what may be chosen, in words
	Help    string `json:"help"`
}

// Tuning is the part of [Backend] about settings.
type Tuning interface {
	// Settings lists all, as they are now.
	Settings(context.Context) ([]Setting, error)
	// Set changes those that values names, or on error none; they last. A mesh
	// that is up heeds them when Set returns.
	Set(ctx context.Context, values map[string]string) error
}

// settings adds what is asked about settings.
func (s *Server) settings(mux *http.ServeMux) {
	mux.HandleFunc("GET /settings", answer(func(r *http.Request) (any, error) {
		return s.Backend.Settings(r.Context())
	}))
	mux.HandleFunc("POST /settings", answer(func(r *http.Request) (any, error) {
		var values map[string]string
		if err := readRequest(r, &values); err != nil {
			return nil, err
		}
		if err := s.Backend.Set(r.Context(), values); err != nil {
			return nil, err
		}
		return s.Backend.Settings(r.Context())
	}))
}

// Settings lists all settings of the daemon.
func (c *Client) Settings(ctx context.Context) ([]Setting, error) {
	var list []Setting
	return list, c.do(ctx, http.MethodGet, "/settings", nil, &list)
}

// Set changes settings, all that values names or on error none, and returns all
// settings as they are then.
func (c *Client) Set(ctx context.Context, values map[string]string) ([]Setting, error) {
	var list []Setting
	return list, c.do(ctx, http.MethodPost, "/settings", values, &list)
}
