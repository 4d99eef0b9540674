package tunnel

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestDeviceLog(t *testing.T) {
	for _, test := range []struct {
		format string
		isErr  bool
		level  string
	}{
		{"%v - Sending keepalive packet", false, "DEBUG"},
		{"%v - Failed to send data packets: %v", true, "DEBUG"},
		{"Failed to write packets to TUN device: %v", true, "WARN"},
	} {
		var out bytes.Buffer
		l := newDeviceLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
		for range 1000 {
			if test.isErr {
				l.Errorf(test.format, "a", "b")
			} else {
				l.Verbosef(test.format, "a")
			}
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != repeatFirst || !strings.Contains(lines[0], "level="+test.level+" msg=wireguard says=") {
			t.Errorf("%q: %d lines like %s, want %d of level %s", test.format, len(lines), lines[0], repeatFirst, test.level)
		}
	}
}

// Below its level the log must not even format: some lines are one a packet.
func TestDeviceLogIsSilent(t *testing.T) {
	l := newDeviceLog(slog.New(slog.DiscardHandler))
	l.Verbosef("%v", explosive{})
}

type explosive struct{}

func (explosive) String() string { panic("formatted") }
