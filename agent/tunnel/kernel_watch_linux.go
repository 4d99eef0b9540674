package tunnel

import (
	"context"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// The kernel tells nobody when it takes another address for a peer's, when data
// moves, or when somebody else changes its peers. So it is asked.
const (
	pollBusy = 100 * time.Millisecond // while data moves: silence is to be noticed
	pollRest = 250 * time.Millisecond
	// pollShare is how much longer than a poll takes the pause after it must be:
	// thousands of peers may take some percent of a processor, and no more.
	pollShare = 40
	// pollPause is the longest all the same: a poll may have waited for a processor.
	pollPause = 2 * time.Second
	// sessionLife is for how long a handshake lets WireGuard send (REJECT_AFTER_TIME).
	sessionLife = 180 * time.Second
	// keepaliveSize is that of a packet with nothing in it.
	keepaliveSize = 32
)

// meter remembers a peer's counters of the last poll.
type meter struct {
	tx, rx         uint64         // the kernel's
	sent, received uint64         // of them, through the proxy
	shook          time.Time      // last handshake, by the kernel's clock; zero: never
	seen           time.Time      // when that was noticed, by ours
	to             netip.AddrPort // where the kernel was told to send last
}

// shake takes note of a peer's last handshake, and reports whether it is a new one.
func (m *meter) shake(at, now time.Time) bool {
	if at.Equal(m.shook) {
		return false
	}
	m.shook, m.seen = at, now
	return !at.IsZero()
}

// alive reports whether the kernel has a session with the peer.
func (m *meter) alive(now time.Time) bool {
	return m != nil && !m.shook.IsZero() && now.Sub(m.seen) < sessionLife
}

// watch keeps the kernel in line with the transport and with what is wanted, until
// ctx ends or the interface is gone.
func (k *kernel) watch(ctx context.Context) {
	defer close(k.died)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.transport.Turned():
			k.steer()
		case <-timer.C:
			start := time.Now()
			busy, gone := k.poll()
			if gone {
				return
			}
			pause := pollRest
			if busy {
				pause = pollBusy
			}
			timer.Reset(max(pause, min(pollShare*time.Since(start), pollPause)))
		}
	}
}

// steer points every peer where the transport says, if that differs from what it
// said last.
func (k *kernel) steer() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.want {
		if to, m := k.endpoint(key), k.meter(key); to != m.to {
			k.turn(key, to, m)
		}
	}
}

// turn points a peer elsewhere. The caller holds mu.
func (k *kernel) turn(key Key, to netip.AddrPort, m *meter) {
	direct := to != k.proxy.address(key)
	for _, c := range turn(key, to, k.want[key].Keepalive, direct) {
		if err := k.configure(c); err != nil {
			k.log.Debug("endpoint not set", "addr", to, "iface", k.name, "err", err)
			return // the next poll sees it
		}
	}
	m.to = to
}

func (k *kernel) meter(key Key) *meter {
	m := k.meters[key]
	if m == nil {
		m = new(meter)
		k.meters[key] = m
	}
	return m
}

// poll reads the kernel's state, tells the transport what moved, and mends what is
// not as wanted. It reports whether data moves, and whether the interface is gone.
func (k *kernel) poll() (busy, gone bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, err := k.client.Device(k.name)
	if err != nil {
		return false, isGone(err)
	}
	if d.PublicKey != k.public || d.ListenPort != int(k.port) || d.FirewallMark != k.mark {
		return false, !k.reclaim(d)
	}
	if err := k.mend(d); err != nil {
		k.log.Warn("peers not mended", "iface", k.name, "err", err)
	}
	k.holdInbound()
	for _, p := range d.Peers {
		key := Key(p.PublicKey)
		if _, wanted := k.want[key]; !wanted {
			delete(k.meters, key)
			continue
		}
		m := k.meter(key)
		if k.measure(key, p, m) {
			busy = true
		}
		k.hold(key, p, m)
	}
	return busy, false
}

// hold keeps the kernel sending to a peer where the transport wants it. A packet
// that came another way has the kernel take its source for the peer's address; the
// transport knows better, but for peers that only the kernel hears.
func (k *kernel) hold(key Key, p wgtypes.Peer, m *meter) {
	want := k.endpoint(key)
	have := endpointOf(p)
	switch {
	case have == want:
		m.to = want
	case have.IsValid() && have != m.to && !have.Addr().IsLoopback() && k.transport.Roamed(key, have):
		m.to = have
	default:
		k.turn(key, want, m)
	}
}

// measure tells the transport what moved by itself since the last poll, and
// reports whether anything moved at all.
func (k *kernel) measure(key Key, p wgtypes.Peer, m *meter) bool {
	was, l := *m, k.proxy.table.Load().links[key]
	m.tx, m.rx = uint64(p.TransmitBytes), uint64(p.ReceiveBytes)
	answered := m.shake(p.LastHandshakeTime, time.Now())
	if l != nil {
		m.sent, m.received = l.sent.Load(), l.received.Load()
	}
	tx, rx := since(m.tx, was.tx), since(m.rx, was.rx)
	var sent, received, straight int
	if was.to.IsValid() && was.to != k.proxy.address(key) {
		come := since(rx, since(m.received, was.received))
		sent, received, straight = moved(since(tx, since(m.sent, was.sent))), moved(come), int(min(come, 1))
	} else if !endpointOf(p).Addr().IsLoopback() && p.Endpoint != nil {
		// Packets come by the proxy and straight, as both ends send both ways. The
		// kernel counts them once, but takes the address of the last for the peer's.
		straight = 1
	}
	if answered || sent+received+straight > 0 {
		k.transport.Moved(key, sent, received, straight, answered)
	}
	return tx > keepaliveSize || rx > keepaliveSize
}

// since is how much a counter grew; 0 if it began anew.
func since(now, then uint64) uint64 {
	if now < then {
		return 0
	}
	return now - then
}

// moved turns bytes into packets, as well as that can be told: none for a
// keepalive.
func moved(bytes uint64) int {
	if bytes <= keepaliveSize {
		return 0
	}
	return int(bytes/1500) + 1
}

// endpointOf is where the kernel sends a peer's packets; zero: nowhere.
func endpointOf(p wgtypes.Peer) netip.AddrPort {
	if p.Endpoint == nil {
		return netip.AddrPort{}
	}
	have := p.Endpoint.AddrPort()
	return netip.AddrPortFrom(have.Addr().Unmap().WithZone(""), have.Port())
}

// reclaim undoes a foreign change of the key, the port or the mark. It reports false if the
// interface of our name is another's by now.
func (k *kernel) reclaim(d *wgtypes.Device) bool {
	if !k.sameLink() {
		return false
	}
	k.log.Warn("key, port or mark of the interface were changed by another program, setting them again", "iface", k.name)
	if err := k.configure(wgtypes.Config{PrivateKey: &k.key, ListenPort: new(int(k.port)), FirewallMark: &k.mark}); err != nil {
		k.log.Warn("interface not mended", "iface", k.name, "err", err)
	}
	return true
}
