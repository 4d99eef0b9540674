package dnssd

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// exchangeOne sends one datagram and returns the answer; nil: none came.
func exchangeOne(t *testing.T, c net.Conn, b []byte, wait time.Duration) []byte {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// TestDatagrams: what is no request is not answered, what is a broken one is told
// so, and those that wait for somebody hold nobody else up.
func TestDatagrams(t *testing.T) {
	arrived, release := make(chan struct{}, 2*maxSlow), make(chan struct{})
	server := startServer(t, ServerConfig{Zone: newZone(t, nas), Forward: func(ctx context.Context, query []byte, _ bool) ([]byte, error) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		query[2] |= 0x80
		return query, nil
	}})
	c, err := net.Dial("udp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	good, err := question("nas.meshd.internal.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	const soon = 30 * time.Second

	t.Log("an answer, and a header that is cut, get none")
	response := append([]byte(nil), good...)
	response[2] |= 0x80
	for _, b := range [][]byte{response, good[:11], {}} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("a message that is cut is a format error, under its own number")
	answer := exchangeOne(t, c, good[:len(good)-3], soon)
	if len(answer) != 12 || answer[0] != good[0] || answer[1] != good[1] || answer[3]&0xf != dns.RcodeFormatError {
		t.Fatalf("got %x, want FORMERR", answer)
	}

	t.Log("while as many as may wait do, others are answered")
	elsewhere, err := question("example.com.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for range maxSlow {
		if _, err := c.Write(elsewhere); err != nil {
			t.Fatal(err)
		}
		select {
		case <-arrived:
		case <-time.After(soon):
			t.Fatal("a question was not forwarded")
		}
	}
	if _, err := c.Write(elsewhere); err != nil { // one too many
		t.Fatal(err)
	}
	if answer := exchangeOne(t, c, good, soon); answer == nil || answer[3]&0xf != dns.RcodeSuccess {
		t.Errorf("got %x, want an answer", answer)
	}
	if n := len(arrived); n != 0 {
		t.Errorf("%d more are under way than may be", n)
	}
	close(release)
	for range maxSlow {
		c.SetReadDeadline(time.Now().Add(soon))
		if _, err := c.Read(make([]byte, 4096)); err != nil {
			t.Fatalf("a forwarded question was not answered: %v", err)
		}
	}
}
