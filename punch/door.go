package punch

import (
	"log/slog"
	"net/netip"
	"sync"

	"meshd/punch/wire"
)

// Door hears what comes to a UDP port before the host's firewall does. [udp.Door] is
// the real one.
type Door interface {
	Read(b []byte) (n int, from netip.AddrPort, err error)
	Close() error
}

// doors are those of the mux's sockets. Each has a goroutine that reads it, and close
// waits for these.
type doors struct {
	all   []Door
	tasks sync.WaitGroup
}

// openDoors has probes heard that the host's firewall drops. Our answer is what makes it
// let in the rest: WireGuard's packets come by the socket alone. A probe that comes by
// both counts once, as a replay of itself (see replays).
func openDoors(m *mux, open func(netip.AddrPort) (Door, error), log *slog.Logger) *doors {
	ds := &doors{}
	if open == nil {
		return ds
	}
	for id, s := range m.sockets {
		if s == nil {
			continue
		}
		d, err := open(s.LocalAddr())
		if err != nil {
			log.Debug("probes that the host's firewall drops are not heard", "err", err)
			break
		}
		ds.all = append(ds.all, d)
		ds.tasks.Go(func() { m.hear(socketID(id), d) })
	}
	return ds
}

func (ds *doors) close() {
	for _, d := range ds.all {
		d.Close()
	}
	ds.tasks.Wait()
}

// hear passes probes on until a door is closed.
func (m *mux) hear(id socketID, d Door) {
	b := make([]byte, extraBuffer)
	for {
		n, from, err := d.Read(b)
		if err != nil {
			return
		}
		if wire.KindOf(b[:n]) == wire.Probe {
			m.divert(datagram{data: clone(b[:n]), from: route{id, from}})
		}
	}
}
