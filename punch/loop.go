package punch

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"meshd/punch/wire"
)

// loop is what Run's goroutine owns. It performs what the paths, the hub
// session and the observer decide, and decides nothing itself.
type loop struct {
	*Engine
	log     *slog.Logger
	self    Key
	boot    uint64 // of our probes: one for each start
	members members
	hub     *hub
	local   *observer
	explore *explorer
	pings   pinger
	slots   pacer
	extras  *extras
	relays  []usableRelay // peers that may relay for us now
	serving bool          // we relay for peers

	responder *wire.Responder
	reads     *rate.Limiter
}

func newLoop(e *Engine) (*loop, error) {
	priv, err := ecdh.X25519().NewPrivateKey(e.config.PrivateKey[:])
	if err != nil {
		return nil, fmt.Errorf("derive public key: %w", err)
	}
	responder, err := wire.NewResponder(e.config.PrivateKey)
	if err != nil {
		return nil, err
	}
	l := &loop{
		responder: responder, reads: newReads(),
		Engine: e, log: e.config.Log,
		self:    Key(priv.PublicKey().Bytes()),
		boot:    random64(),
		members: newMembers(),
		hub:     newHub(e.mux, e.config.DialWebSocket),
		extras:  newExtras(e.mux, e.config),
		explore: newExplorer(e.config.listenSurvey, e.config.OpenDoor),
	}
	l.local = newObserver(e.Port(), e.mux.sockets, e.config.Advertise, func(to netip.AddrPort, b []byte) {
		l.sendTo(routeTo(to), b, 0) // an error is a loss
	})
	return l, nil
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// run waits for something to happen, and lets everyone do what is due then.
func (l *loop) run(ctx context.Context) error {
	defer l.hub.close()
	defer l.extras.close()
	defer l.explore.stop()
	defer openDoors(l.mux, l.config.OpenDoor, l.log).close()
	t := time.NewTimer(0)
	defer t.Stop()
	l.readInterfaces()
	l.takeOrders()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.mux.done:
			return nil
		case d := <-l.mux.inbox:
			l.receive(d)
		case e := <-l.mux.early:
			l.takeEarly(e)
		case r := <-l.mux.roams:
			l.takeRoam(r)
		case ev := <-l.hub.stream.events:
			if ev.err != nil {
				l.log.Debug("relay stream ended", "err", ev.err)
			}
			l.hub.takeStream(time.Now(), ev)
		case d := <-l.explore.found:
			l.local.surveyed(time.Now(), d)
		case key := <-l.wants:
			if m := l.members.all[key]; m != nil {
				l.want(m)
			}
		case f := <-l.asks:
			f(l)
		case <-l.mux.wake:
			l.takeOrders()
		case <-t.C:
		}
		l.settle(time.Now())
		t.Reset(l.untilDue(time.Now()))
	}
}

// takeOrders takes in what was asked for from outside.
func (l *loop) takeOrders() {
	if r := l.relay.Swap(nil); r != nil {
		l.hub.set(time.Now(), *r)
		l.local.setServers(time.Now(), r.Addrs)
	}
	if r := l.relaying.Swap(nil); r != nil {
		l.setRelaying(*r)
	}
	if n := l.rate.Swap(nil); n != nil {
		l.setRate(*n)
	}
	if m := l.mapped.Swap(nil); m != nil {
		l.setMapped(time.Now(), *m)
	}
	if l.link.Swap(false) {
		l.linkChanged()
	}
	if ps := l.peers.Swap(nil); ps != nil {
		l.setPeers(*ps)
	}
}

// linkChanged distrusts everything that was known of the network.
func (l *loop) linkChanged() {
	now := time.Now()
	l.log.Debug("link changed")
	l.local.suspect(now)
	l.readInterfaces()
	l.hub.renew(now)
	for _, m := range l.members.byActivity() {
		clear(m.sizing)
		l.forgetBundles(m)
		l.step(m, linkChanged{})
	}
}

func (l *loop) readInterfaces() {
	nets, err := l.config.Interfaces()
	if err != nil {
		l.log.Warn("cannot read the host's addresses", "err", err)
		return
	}
	l.local.setNets(time.Now(), nets)
}

// receive takes in what the packet path could not use.
func (l *loop) receive(d datagram) {
	now := time.Now()
	if d.from.socket.extra() {
		l.receiveExtra(now, d)
		return
	}
	switch wire.KindOf(d.data) {
	case wire.Relay:
		l.hub.receive(now, d)
	case wire.STUN:
		l.local.receive(now, d.data, d.from.addr)
	case wire.Probe:
		l.receiveProbe(now, d)
	case wire.WireGuard:
		l.meet(now, d)
		l.mux.introduce(d)
	}
}

func (l *loop) receiveProbe(now time.Time, d datagram) {
	m := l.members.tagged(wire.TagOf(d.data))
	if m == nil || d.relayed != nil && d.relayed != m.flow {
		return
	}
	msg, err := m.pair.OpenProbe(d.data)
	if err != nil || !m.replays.fresh(msg.Boot, msg.Seq) {
		return
	}
	if msg.Type == wire.Pong && msg.TxID&pingerBit != 0 {
		relay := ""
		if by := l.members.all[d.by]; by != nil {
			relay = by.Name
		}
		l.pings.answer(now, msg.TxID, d, relay)
	}
	if msg.Type == wire.Pong && d.relayed == nil && d.from.socket <= socket6 {
		l.local.viewed(now, d.from.addr, msg.Observed)
	}
	l.sized(now, m, msg, wayOf(d))
	if d.relayed != nil {
		m.by = d.by
		if l.takeDetour(m, msg) {
			return
		}
	}
	if msg.Type == wire.Ping && msg.Flags&wire.FlagData != 0 {
		l.takeTraffic(now, m) // what came before the PING is counted before
	}
	l.step(m, heard{msg, d.from})
	if d.relayed == nil && (l.mux.owner(d.from.addr) != m.flow || l.becameClient(m, d.from)) {
		l.publish()
	}
}

// settle does what is due, and spreads news from one part to the others.
func (l *loop) settle(now time.Time) {
	l.hub.run(now)
	l.mux.setRelay(l.hub.addr(), l.hub.relay.ID)
	l.takeHubNews(now)
	l.local.run(now)
	l.takeLocalNews(now)
	l.settleRelays()
	if c, due := l.local.survey(now); due {
		l.explore.start(c)
	}
	l.members.keepTags(hour(now.Add(l.ClockOffset())))
	for _, m := range l.members.all {
		l.settleMember(now, m)
	}
}

func hour(t time.Time) uint32 { return uint32(t.Unix() / 3600) }

// takeHubNews spreads what the hub session learnt.
func (l *loop) takeHubNews(now time.Time) {
	n := l.hub.takeNews()
	if n == nil {
		return
	}
	if !n.clock.IsZero() {
		l.offset.Store(int64(n.clock.Sub(now)))
	}
	if n.observed.IsValid() {
		l.local.observed(now, n.server, n.observed, 0)
		l.takeLocalNews(now) // first, so that a CONNECT carries it
	}
	if n.rebound {
		for _, m := range l.members.byActivity() {
			l.relaysChanged(m)
			l.step(m, l.relayOf(m))
		}
	}
	if n.changed {
		l.log.Info("relay session changed", "via", l.hub.via, "addr", l.hub.observed)
		l.rewarm()
		l.noteChange()
	}
}

// takeLocalNews spreads what we learnt of our own addresses.
func (l *loop) takeLocalNews(now time.Time) {
	if !l.local.changed(now) {
		return
	}
	for _, m := range l.members.byActivity() {
		l.step(m, l.local.event())
	}
	l.serve(l.local.told.Relays)
	l.config.Publish(l.local.local())
	l.noteChange()
}

// untilDue is how long nothing happens by itself.
func (l *loop) untilDue(now time.Time) time.Duration {
	d := earlier(l.hub.deadline(), l.local.deadline())
	for _, m := range l.members.all {
		d = earlier(d, m.deadline())
		d = earlier(d, l.sizeDeadline(now, m))
	}
	if d.IsZero() {
		d = now.Add(time.Hour)
	}
	next := now.Add(l.ClockOffset())
	d = earlier(d, now.Add(next.Truncate(time.Hour).Add(time.Hour).Sub(next)))
	return max(0, d.Sub(now))
}
