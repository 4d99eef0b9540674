package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"meshd/coordinator/api"
	"meshd/coordinator/api/apitest"
	meshdv1 "meshd/coordinator/api/meshd/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dial returns a client of its own identity for what the join string names.
func dial(t *testing.T, j api.JoinString) *api.Client {
	t.Helper()
	id, err := api.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	c := api.Dial(api.ClientConfig{Hosts: j.Hosts, Port: j.Port, Pin: j.Pin, Identity: id})
	t.Cleanup(c.CloseIdle)
	return c
}

func join(t *testing.T, c *api.Client, j api.JoinString, name string) *meshdv1.JoinResponse {
	t.Helper()
	resp, err := c.Control.Join(t.Context(), &meshdv1.JoinRequest{Hostname: name, WireguardKey: make([]byte, 32), Secret: j.Secret[:]})
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// next returns the next message that is no heartbeat.
func next(t *testing.T, s *connect.ServerStreamForClient[meshdv1.MapResponse]) *meshdv1.MapResponse {
	t.Helper()
	if !s.Receive() {
		t.Fatalf("the stream ended: %v", s.Err())
	}
	return s.Msg()
}

func TestTwoMembers(t *testing.T) {
	hub := apitest.New(t)
	nas, laptop := dial(t, hub.Join()), dial(t, hub.Join())

	t.Log("nas joins and listens")
	if got := join(t, nas, hub.Join(), "nas"); got.Name != "nas" || got.Pending {
		t.Errorf("joined as %v", got)
	}
	stream, err := nas.Control.Map(t.Context(), &meshdv1.MapRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	first := next(t, stream)
	if !first.Full || first.Self.Name != "nas" || first.Self.Addresses[0] != "100.96.0.1" || len(first.Members) != 0 {
		t.Errorf("the first map is %v", first)
	}

	t.Log("a laptop that calls itself nas is held back, then approved; nas hears of it then")
	hub.Hold()
	if got := join(t, laptop, hub.Join(), "nas"); got.Name != "nas-2" || !got.Pending {
		t.Errorf("joined as %v", got)
	}
	hub.Approve("nas-2")
	if got := next(t, stream); got.Full || len(got.Members) != 1 || got.Members[0].Name != "nas-2" {
		t.Errorf("nas heard %v", got)
	}

	t.Log("the laptop asks the zone of the mesh who nas is, by the same connection")
	question := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName("nas.apitest.internal."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}}}
	packed, err := question.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var reply dnsmessage.Message
	answer, err := laptop.Exchange(t.Context(), packed)
	if err == nil {
		err = reply.Unpack(answer)
	}
	if err != nil || reply.ID != 7 || !reply.Response || !reply.Authoritative {
		t.Errorf("got %v, %v, want an answer", reply, err)
	}
	if _, err := laptop.Exchange(t.Context(), []byte("no message")); err == nil || !strings.HasPrefix(err.Error(), "the coordinator answers 400: ") {
		t.Errorf("got %v, want status 400", err)
	}

	t.Log("it leaves; and is no member any more")
	if _, err := laptop.Control.Leave(t.Context(), &meshdv1.LeaveRequest{}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, stream); len(got.Removed) != 1 || got.Removed[0] != 2 {
		t.Errorf("nas heard %v", got)
	}
	if _, err := laptop.Control.Leave(t.Context(), &meshdv1.LeaveRequest{}); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("a stranger may leave: %v", err)
	}

	t.Log("and is told so in words, unary or streamed")
	refused, err := laptop.Control.Map(t.Context(), &meshdv1.MapRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if refused.Receive() {
		t.Errorf("a stranger was sent %v", refused.Msg())
	}
	refused.Close()
	_, err = laptop.Control.Leave(t.Context(), &meshdv1.LeaveRequest{})
	for _, err := range []error{err, refused.Err()} {
		if sentence, hint := api.Explain(err); sentence != "this machine is no member of mesh apitest" || hint != "join it" {
			t.Errorf("told %q, %q", sentence, hint)
		}
	}

	t.Log("streams are cut, and may be opened again")
	hub.Drop()
	if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeAborted {
		t.Errorf("the stream ended with %v, want aborted", stream.Err())
	}
}

func TestHubIsAwayAndComesBack(t *testing.T) {
	hub := apitest.New(t)
	c := dial(t, hub.Join())
	join(t, c, hub.Join(), "nas")
	hub.Stop()
	c.CloseIdle()
	_, err := c.Control.RotateKey(t.Context(), &meshdv1.RotateKeyRequest{WireguardKey: make([]byte, 32)})
	sentence, _ := api.Explain(err)
	if want := fmt.Sprintf("nothing answers at %s: connection refused", hub.Addr); sentence != want {
		t.Errorf("away: %s\nwant: %s", sentence, want)
	}
	hub.Start()
	if _, err := c.Control.RotateKey(t.Context(), &meshdv1.RotateKeyRequest{WireguardKey: make([]byte, 32)}); err != nil {
		t.Errorf("back: %v", err)
	}
}

func TestHostsAreTriedInTurn(t *testing.T) {
	hub := apitest.New(t)
	j := hub.Join()
	j.Hosts = []string{"first.invalid", "second.invalid", "third.invalid"}
	var tried []string
	id, err := api.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	c := api.Dial(api.ClientConfig{Hosts: j.Hosts, Port: j.Port, Pin: j.Pin, Identity: id,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			tried = append(tried, strings.TrimSuffix(addr, fmt.Sprintf(".invalid:%d", j.Port)))
			if strings.HasPrefix(addr, "third") {
				return new(net.Dialer).DialContext(ctx, network, hub.Addr.String())
			}
			return nil, &net.DNSError{Name: addr, Err: "no such host", IsNotFound: true}
		}})
	defer c.CloseIdle()
	join(t, c, j, "nas")
	if got := strings.Join(tried, " "); got != "first second third" {
		t.Errorf("tried %s, want first second third", got)
	}
	if c.Host() != "third.invalid" || c.URL("/relay") != fmt.Sprintf("https://third.invalid:%d/relay", j.Port) {
		t.Errorf("the host that answers is %s, its relay %s", c.Host(), c.URL("/relay"))
	}
	tried = nil
	c.CloseIdle()
	if _, err := c.Control.RotateKey(t.Context(), &meshdv1.RotateKeyRequest{WireguardKey: make([]byte, 32)}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(tried, " "); got != "third" {
		t.Errorf("afterwards tried %s, want third", got)
	}
}

// TestWhatIsSaid is the list of all that can stand in the way of a call, and the words for it.
func TestWhatIsSaid(t *testing.T) {
	hub := apitest.New(t)
	other, err := api.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	at := func(addr net.Addr, pin api.Pin) api.JoinString {
		ap := netip.MustParseAddrPort(addr.String())
		return api.JoinString{Hosts: []string{ap.Addr().String()}, Port: ap.Port(), Pin: pin}
	}
	refused := listen(t, func(net.Conn) {})
	refused.Close()
	mute := listen(t, func(c net.Conn) { c.Close() })
	ssh := listen(t, func(c net.Conn) { fmt.Fprint(c, "SSH-2.0-OpenSSH_9.2\r\n"); io.Copy(io.Discard, c); c.Close() })
	web := httptest.NewUnstartedServer(http.NotFoundHandler())
	web.TLS = &tls.Config{Certificates: []tls.Certificate{ecdsaCertificate(t, "www.example")}}
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	defer web.Close()
	wrongPin := hub.Join()
	wrongPin.Pin = other.Pin()
	both := at(refused.Addr(), other.Pin())
	both.Hosts, both.Port = []string{"name.invalid", "127.0.0.1"}, hub.Addr.Port()

	tests := []struct {
		name           string
		join           api.JoinString
		sentence, hint string
	}{
		{"another hub", wrongPin,
			fmt.Sprintf("the coordinator at %s proved to be %s, but this join string is for %s", hub.Addr, hub.Identity.Pin(), other.Pin()),
			"ask for a new join string, or check the host name"},
		{"the second host is another hub, the first has no address", both,
			fmt.Sprintf("the coordinator at %s proved to be %s, but this join string is for %s", hub.Addr, hub.Identity.Pin(), other.Pin()),
			"ask for a new join string, or check the host name"},
		{"a web server", at(web.Listener.Addr(), other.Pin()),
			fmt.Sprintf(`what answers at %s is no meshd coordinator: it showed a certificate for "www.example" with an ECDSA key`, web.Listener.Addr()),
			"check the host and port of the join string, and that nothing on the way takes TLS apart"},
		{"no TLS there", at(ssh.Addr(), other.Pin()),
			fmt.Sprintf("what answers at %s does not speak TLS", ssh.Addr()), "check the host and port of the join string"},
		{"hangs up", at(mute.Addr(), other.Pin()),
			fmt.Sprintf("%s hung up", mute.Addr()), "check the port of the join string, and the coordinator's log"},
		{"nobody there", at(refused.Addr(), other.Pin()),
			fmt.Sprintf("nothing answers at %s: connection refused", refused.Addr()), "check that `meshd coordinator serve` runs there, on that port"},
		{"a name that is none", api.JoinString{Hosts: []string{"name.invalid"}, Port: 443},
			"the coordinator's host name.invalid has no address", "check the host name, or use the coordinator's IP address"},
		{"a secret that is none", at(net.TCPAddrFromAddrPort(hub.Addr), hub.Identity.Pin()),
			"the join string is unknown, used or expired", "ask for a new join string: meshd coordinator key create"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := api.NewIdentity()
			if err != nil {
				t.Fatal(err)
			}
			c := api.Dial(api.ClientConfig{Hosts: tt.join.Hosts, Port: tt.join.Port, Pin: tt.join.Pin, Identity: id, DialContext: noDNS})
			defer c.CloseIdle()
			_, err = c.Control.Join(t.Context(), &meshdv1.JoinRequest{})
			sentence, hint := api.Explain(err)
			if sentence != tt.sentence || hint != tt.hint {
				t.Errorf("%v\n got %s\n     %s\nwant %s\n     %s", err, sentence, hint, tt.sentence, tt.hint)
			}
		})
	}
}

// noDNS dials like the real one, but knows no names: tests ask nobody.
func noDNS(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	if net.ParseIP(host) == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Name: host, Err: "no such host", IsNotFound: true}}
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

func TestCertificateIsNeeded(t *testing.T) {
	hub := apitest.New(t)
	get := func(certs ...tls.Certificate) error {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certs}}
		defer transport.CloseIdleConnections()
		req, _ := http.NewRequestWithContext(t.Context(), "POST", fmt.Sprintf("https://%s/meshd.v1.ControlService/Leave", hub.Addr), nil)
		resp, err := transport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
			return nil
		}
		return &api.DialError{Addr: "hub:443", Err: err}
	}
	tests := []struct {
		name  string
		certs []tls.Certificate
		want  string
	}{
		{"none", nil, "the coordinator at hub:443 refused the connection: tls: certificate required"},
		{"of another kind", []tls.Certificate{ecdsaCertificate(t, "me")}, "the coordinator at hub:443 refused the connection: tls: bad certificate"},
	}
	for _, tt := range tests {
		if got, _ := api.Explain(get(tt.certs...)); got != tt.want {
			t.Errorf("certificate %s: %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// A clock that is off by years, on either side, changes nothing.
func TestWrongClock(t *testing.T) {
	hubID, _ := api.NewIdentity()
	agentID, _ := api.NewIdentity()
	for _, year := range []int{1971, 2300} {
		server, client := api.ServerTLS(hubID), api.ClientTLS(agentID, hubID.Pin())
		client.Time = func() time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
		ours, theirs := net.Pipe()
		failed := make(chan error, 1)
		go func() {
			conn := tls.Server(theirs, server)
			failed <- conn.HandshakeContext(t.Context())
			conn.Close()
		}()
		conn := tls.Client(ours, client)
		if err := conn.HandshakeContext(t.Context()); err != nil {
			t.Errorf("in %d: %v", year, err)
		}
		if err := <-failed; err != nil {
			t.Errorf("in %d: hub: %v", year, err)
		}
		ours.Close()
	}
}

func TestAdminSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coordinator.sock")
	_, err := api.DialAdmin(path).Status(t.Context(), &meshdv1.StatusRequest{})
	sentence, hint := api.Explain(err)
	if sentence != "no coordinator answers at "+path || !strings.Contains(hint, "meshd coordinator serve") {
		t.Errorf("got %s (%s)", sentence, hint)
	}
}

// listen calls serve with each connection, until the test ends.
func listen(t *testing.T, serve func(net.Conn)) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return ln
}

func ecdsaCertificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
