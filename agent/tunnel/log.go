package tunnel

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"golang.zx2c4.com/wireguard/device"
)

// deviceLog carries what wireguard-go says into slog. It says some of it once a
// packet, so every kind of line (a format string) is held to a few at first and
// then one every repeatAfter.
type deviceLog struct {
	log    *slog.Logger
	limits sync.Map // level and format -> *rate.Sometimes
}

const (
	repeatFirst = 20
	repeatAfter = 10 * time.Second
)

func newDeviceLog(log *slog.Logger) *device.Logger {
	l := &deviceLog{log: log}
	return &device.Logger{
		Verbosef: func(format string, args ...any) { l.line(slog.LevelDebug, format, args) },
		Errorf:   func(format string, args ...any) { l.line(errorLevel(format), format, args) },
	}
}

// errorLevel judges an error of the device by its format. One that is about a
// peer or an IPC call ("%v - Failed to send data packets: %v") is the weather of
// the network or returned to the caller anyway. What is left is about the
// interface, and somebody may have to act.
func errorLevel(format string) slog.Level {
	if strings.HasPrefix(format, "%v") || strings.HasPrefix(format, "Failed to decode") {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

func (l *deviceLog) line(level slog.Level, format string, args []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	limit, ok := l.limits.Load(format)
	if !ok {
		limit, _ = l.limits.LoadOrStore(format, &rate.Sometimes{First: repeatFirst, Interval: repeatAfter})
	}
	limit.(*rate.Sometimes).Do(func() {
		l.log.Log(context.Background(), level, "wireguard", "says", fmt.Sprintf(format, args...))
	})
}
