package coordinator_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"meshd/coordinator"
	"meshd/coordinator/api"
	meshdv1 "meshd/coordinator/api/meshd/v1"
	"meshd/coordinator/api/meshd/v1/meshdv1connect"
	"meshd/dnssd"
)

// await polls for what has no event.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// TestAgentThatStopsReading blocks a stream in the midst of a write, by flow
// control, as an agent does whose machine was put to sleep.
func TestAgentThatStopsReading(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	j := h.key(&meshdv1.CreateKeyRequest{Reusable: true, Approved: true})
	nas, phone := h.join("nas", j), h.join("phone", j)

	narrow := &http.Transport{
		TLSClientConfig:   api.ClientTLS(phone.identity, j.Pin),
		ForceAttemptHTTP2: true,
		HTTP2:             &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
	}
	defer narrow.CloseIdleConnections()
	asleep, err := meshdv1connect.NewControlServiceClient(&http.Client{Transport: narrow}, phone.client.URL("")).
		Map(t.Context(), &meshdv1.MapRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer asleep.Close()
	asleep.Receive()
	online := func(want uint32) func() bool {
		return func() bool {
			status, err := h.admin.Status(t.Context(), &meshdv1.StatusRequest{})
			return err == nil && status.GetOnline() == want
		}
	}
	await(t, "the phone is online", online(1))

	for i := range 1000 {
		var endpoints []string
		for e := range dnssd.MaxCandidates {
			endpoints = append(endpoints, fmt.Sprintf("host 203.0.113.%d:%d", e, 1000+i))
		}
		if err := nas.publish(at(endpoints...)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the phone is cut off", online(0))
	for asleep.Receive() {
	}
	if asleep.Err() == nil {
		t.Error("the stream ended as if all had been said")
	}
	t.Log("it wakes up and starts anew")
	if m := phone.watch().next(); !m.GetFull() || len(m.GetMembers()) != 1 {
		t.Errorf("got %v, want a full map", m)
	}
}

// TestFloodOfHalfOpenConnections holds more connections than one source may,
// without ever finishing a handshake.
func TestFloodOfHalfOpenConnections(t *testing.T) {
	h := newHub(t, &coordinator.MemoryStore{})
	j := h.key(&meshdv1.CreateKeyRequest{Approved: true})
	nas := h.join("nas", j)
	stream := nas.watch()
	stream.next()

	var flood []net.Conn
	for range 300 {
		conn, err := net.Dial("tcp", h.config.Listen.String())
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, conn)
	}
	t.Log("one more from there is hung up on")
	if conn, err := tls.Dial("tcp", h.config.Listen.String(), api.ClientTLS(nas.identity, j.Pin)); err == nil {
		conn.Close()
		t.Error("a stranger beyond the limit was served")
	}
	t.Log("but a member that is there already is not disturbed")
	if err := nas.publish(dnssd.Publication{}); err != nil {
		t.Error(err)
	}
	for _, conn := range flood {
		conn.Close()
	}
	await(t, "places are free again", func() bool {
		conn, err := tls.Dial("tcp", h.config.Listen.String(), api.ClientTLS(nas.identity, j.Pin))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}
