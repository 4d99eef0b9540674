package relay

import (
	"bytes"
	"fmt"
	"testing"

	"meshd/punch/wire"
)

func drain(t *testing.T, q *queue) (all []string) {
	t.Helper()
	for {
		message := q.take(nil)
		if len(message) == 0 {
			return all
		}
		datagrams, ok := splitMessage(nil, message)
		if !ok || len(message) > maxMessage {
			t.Fatalf("bad message of %d bytes", len(message))
		}
		for _, b := range datagrams {
			all = append(all, string(b))
		}
	}
}

func TestQueueLosesOldestDataFirst(t *testing.T) {
	q := newQueue()
	hello := newMember(alice).Start(start, relayAddrs[0])[0]
	lost := 0
	for i := range dataSlots + 10 {
		if i == 5 {
			lost += q.push([][]byte{hello})
		}
		lost += q.push([][]byte{data(7, alice^bob, fmt.Sprint(i))})
	}
	if lost != 10 {
		t.Errorf("lost %d, want 10", lost)
	}
	got := drain(t, q)
	if len(got) != 1+dataSlots || got[0] != string(hello) || got[1] != string(data(7, alice^bob, "10")) {
		t.Errorf("%d left, the first %x and %x; want %d, HELLO and the eleventh", len(got), got[0], got[1], 1+dataSlots)
	}
}

func TestQueueFillsMessages(t *testing.T) {
	q := newQueue()
	big := bytes.Repeat([]byte{'x'}, 9000)
	for range 20 {
		q.push([][]byte{data(7, alice^bob, string(big))})
	}
	if got := len(q.take(nil)); got < maxMessage-10_000 || got > maxMessage {
		t.Errorf("message of %d bytes, want up to %d", got, maxMessage)
	}
	if got := len(drain(t, q)); got != 20-7 {
		t.Errorf("%d left, want 13", got)
	}
}

func TestQueueRefusesWhatFitsNoMessage(t *testing.T) {
	q := newQueue()
	if lost := q.push([][]byte{make([]byte, maxMessage-lengthSize+1)}); lost != 1 {
		t.Errorf("lost %d, want 1", lost)
	}
	if lost := q.push([][]byte{make([]byte, maxMessage-lengthSize)}); lost != 0 {
		t.Errorf("lost %d of the largest, want 0", lost)
	}
	if got := drain(t, q); len(got) != 1 {
		t.Errorf("%d left, want 1", len(got))
	}
}

func TestUrgent(t *testing.T) {
	head := wire.AppendHeader(nil, wire.Header{Type: wire.Data})
	tests := []struct {
		name string
		b    []byte
		want bool
	}{
		{"session message", newMember(alice).Start(start, relayAddrs[0])[0], true},
		{"probe", append(head[:8:8], 0xd1, 'm', 's', 'h'), true},
		{"WireGuard handshake", append(head[:8:8], 1, 0, 0, 0), true},
		{"WireGuard data", append(head[:8:8], 4, 0, 0, 0), false},
	}
	for _, test := range tests {
		if got := urgent(test.b); got != test.want {
			t.Errorf("%s: urgent = %v, want %v", test.name, got, test.want)
		}
	}
}

func FuzzSplitMessage(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendDatagram(appendDatagram(nil, []byte("one")), []byte("three")))
	f.Add([]byte{0, 0, 0})
	f.Add([]byte{0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		datagrams, ok := splitMessage(nil, message)
		var again []byte
		for _, b := range datagrams {
			again = appendDatagram(again, b)
		}
		if ok && !bytes.Equal(again, message) || !bytes.HasPrefix(message, again) {
			t.Fatalf("%x became %x", message, again)
		}
	})
}
