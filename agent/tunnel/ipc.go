package tunnel

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// The device is spoken to in WireGuard's cross-platform configuration protocol:
// lines of key=value, where public_key begins a peer.

// state is a peer as the device has it.
type state struct {
	peer  Peer
	stats Stats
}

// parseState reads the peers out of what the device answers to "get".
func parseState(text []byte) (map[Key]*state, error) {
	states := make(map[Key]*state)
	var cur *state
	for line := range bytes.Lines(text) {
		name, value, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("="))
		if !ok {
			return nil, fmt.Errorf("device state: line %q is not key=value", line)
		}
		if string(name) == "public_key" {
			cur = new(state)
			if err := parseKey(&cur.peer.Key, value); err != nil {
				return nil, fmt.Errorf("device state: public_key: %v", err)
			}
			states[cur.peer.Key] = cur
		} else if cur != nil {
			if err := cur.set(string(name), value); err != nil {
				return nil, fmt.Errorf("device state: %s: %v", name, err)
			}
		}
	}
	return states, nil
}

// set takes one line about the peer. Names it has no use for are passed over.
func (s *state) set(name string, value []byte) (err error) {
	var n uint64
	switch name {
	case "preshared_key":
		return parseKey(&s.peer.PresharedKey, value)
	case "allowed_ip":
		var p netip.Prefix
		p, err = netip.ParsePrefix(string(value))
		s.peer.AllowedIPs = append(s.peer.AllowedIPs, p)
	case "persistent_keepalive_interval":
		n, err = parseUint(value)
		s.peer.Keepalive = time.Duration(n) * time.Second
	case "last_handshake_time_sec":
		if n, err = parseUint(value); n != 0 {
			s.stats.LastHandshake = time.Unix(int64(n), 0)
		}
	case "last_handshake_time_nsec":
		if n, err = parseUint(value); n != 0 {
			s.stats.LastHandshake = s.stats.LastHandshake.Add(time.Duration(n))
		}
	case "rx_bytes":
		s.stats.RxBytes, err = parseUint(value)
	case "tx_bytes":
		s.stats.TxBytes, err = parseUint(value)
	}
	return err
}

func parseUint(b []byte) (uint64, error) { return strconv.ParseUint(string(b), 10, 64) }

func parseKey(k *[32]byte, value []byte) error {
	if len(value) != hex.EncodedLen(len(k)) {
		return fmt.Errorf("%d characters instead of %d", len(value), hex.EncodedLen(len(k)))
	}
	_, err := hex.Decode(k[:], value)
	return err
}
