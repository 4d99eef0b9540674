package api_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"testing"

	"github.com/coder/websocket"

	"meshd/coordinator/api"
)

// One client, one port: HTTP/2 for calls, HTTP/1.1 for the WebSocket relay, both
// with the same identities.
func TestCallsAndWebSocketsShareThePort(t *testing.T) {
	hub, err := api.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	callers := make(chan string, 2)
	server := &http.Server{Handler: api.Authenticate(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, _ := api.Caller(r.Context())
		callers <- api.PinOf(key).String()
		if r.URL.Path == "/relay" {
			conn, err := websocket.Accept(w, r, nil)
			if err == nil {
				conn.Close(websocket.StatusNormalClosure, "")
			}
		}
	}))}
	ended := make(chan error)
	go func() { ended <- server.Serve(tls.NewListener(ln, api.ServerTLS(hub))) }()
	defer func() { server.Close(); <-ended }()

	id, err := api.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	c := api.Dial(api.ClientConfig{Hosts: []string{"127.0.0.1"}, Port: port, Pin: hub.Pin(), Identity: id})
	defer c.CloseIdle()

	resp, err := c.HTTP().Get(c.URL("/"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("calls travel by %s, want HTTP/2", resp.Proto)
	}
	conn, _, err := websocket.Dial(t.Context(), c.URL("/relay"), &websocket.DialOptions{HTTPClient: c.HTTP()})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the WebSocket ended with %v", err)
	}
	for range 2 {
		if got := <-callers; got != id.Pin().String() {
			t.Errorf("the caller is %s, want %s", got, id.Pin())
		}
	}
}
