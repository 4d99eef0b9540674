package lab

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Delay is what a link does to packets. The zero value is a plain veth pair,
// which is fast; anything else goes through this process, which is not.
type Delay struct {
	OneWay time.Duration
	Jitter time.Duration // up to this much more, for each packet anew: they overtake each other
	Loss   float64       // 0 to 1, each way
	Hops   int           // routers on the way, which take as much off the time to live
}

// Link joins a host to the core.
type Link struct {
	ifname string // in the core
	delay  Delay
	loss   atomic.Uint64
	mtu    atomic.Int64  // 0: none
	nats   []*translator // at the host's end, from the host outwards
	watch  atomic.Pointer[func(Seen)]
	ends   []*os.File
	pumps  sync.WaitGroup
}

// Seen is a packet at the host's end of a link, as the core sees it.
type Seen struct {
	At       time.Time
	Up       bool // leaves the host
	Proto    uint8
	Src, Dst netip.AddrPort
	Payload  []byte // of UDP; not to be kept
}

// Watch has f see every packet that a translator lets pass, or all of them where
// there is none. Two goroutines call it, which carry no packet until it returns. A
// link without delay, loss, hops or translators isn't seen.
func (k *Link) Watch(f func(Seen)) { k.watch.Store(&f) }

// Link is the host's link to the core, nil for one behind a gateway.
func (h *Host) Link() *Link { return h.wan }

// wanName is the name of a host's interface towards the core.
const wanName = "wan0"

// attach links h to the core, through translators if there are any. Addrs are
// routed to it; those of IPv4 become its own unless there are translators.
func (l *Lab) attach(h *Host, delay Delay, nats []*translator, addrs ...netip.Addr) (*Link, error) {
	l.next++
	link := &Link{ifname: fmt.Sprintf("to%d", l.next), delay: delay, nats: nats}
	link.SetLoss(delay.Loss)
	l.links = append(l.links, link)
	var err error
	if delay == (Delay{}) && len(nats) == 0 {
		err = veth(l.core, link.ifname, h, wanName)
	} else {
		err = link.open(l.core, h)
	}
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", h.Name, err)
	}
	return link, l.address(h, link, addrs)
}

// address gives the two ends of a link their addresses and routes.
func (l *Lab) address(h *Host, link *Link, addrs []netip.Addr) error {
	core := fmt.Sprintf(linkEnd, link.ifname, coreAddr, coreAddr6)
	far := fmt.Sprintf("link set %[1]s up\naddr add %[2]s/64 dev %[1]s nodad\n", wanName, farAddr6)
	for _, a := range addrs {
		core += route(netip.PrefixFrom(a, a.BitLen()), link)
		if a.Is6() || len(link.nats) == 0 {
			far += fmt.Sprintf("addr add %s/%d dev %s%s\n", a, a.BitLen(), wanName, nodad(a))
		}
	}
	far += fmt.Sprintf("route add %s dev %s\nroute add default via %[1]s dev %[2]s\nroute add default via %[3]s dev %[2]s\n", coreAddr, wanName, coreAddr6)
	if err := l.core.ip(core); err != nil {
		return err
	}
	return h.ip(far)
}

// linkEnd makes an interface the core's end of a link.
const linkEnd = `addr add %[2]s/32 dev %[1]s
link set %[1]s up
addr add %[3]s/64 dev %[1]s nodad
`

// route is the core's way to a prefix by a link.
func route(p netip.Prefix, link *Link) string {
	if p.Addr().Is4() {
		return fmt.Sprintf("route add %s dev %s\n", p, link.ifname)
	}
	return fmt.Sprintf("route add %s via %s dev %s\n", p, farAddr6, link.ifname)
}

// nodad spares an address the second in which it is looked for elsewhere (RFC 4862).
func nodad(a netip.Addr) string {
	if a.Is6() {
		return " nodad"
	}
	return ""
}

// SetLoss changes the share of packets, 0 to 1, that a delayed link drops each way.
func (k *Link) SetLoss(share float64) { k.loss.Store(uint64(share * (1 << 32))) }

// SetMTU makes a delayed link swallow larger packets without a word; 0 ends that.
func (k *Link) SetMTU(bytes int) { k.mtu.Store(int64(bytes)) }

// fits reports whether the link carries a packet of n bytes.
func (k *Link) fits(n int) bool {
	mtu := k.mtu.Load()
	return mtu == 0 || int64(n) <= mtu
}

// open makes a TUN device in each namespace and pumps packets between them.
func (k *Link) open(core, far *Host) error {
	a, err := tunIn(core, k.ifname)
	if err != nil {
		return err
	}
	k.ends = append(k.ends, a)
	b, err := tunIn(far, wanName)
	if err != nil {
		return err
	}
	k.ends = append(k.ends, b)
	k.pumps.Go(func() { k.pump(b, a, k.up(b), nil) })
	k.pumps.Go(func() { k.pump(a, b, nil, k.down()) })
	return nil
}

func (k *Link) close() {
	for _, f := range k.ends {
		f.Close()
	}
	k.pumps.Wait()
}

// queueLen bounds the packets under way in one direction of a link. The TUN
// devices at its ends have room for as many.
const queueLen = 4096

type packet struct {
	due time.Time
	b   []byte
}

// stage treats a packet at one end of a link, in place; false drops it.
type stage func([]byte) bool

// pump carries packets from one end to the other until an end is closed. Either
// stage may be nil.
func (k *Link) pump(from, to *os.File, enter, exit stage) {
	queue := make(chan packet, queueLen)
	deliver := func(p packet) {
		time.Sleep(time.Until(p.due)) // the link's delay itself
		if exit == nil || exit(p.b) {
			to.Write(p.b)
		}
	}
	k.pumps.Go(func() {
		for p := range queue {
			if k.delay.Jitter == 0 {
				deliver(p)
				continue
			}
			p.due = p.due.Add(rand.N(k.delay.Jitter))
			k.pumps.Go(func() { deliver(p) })
		}
	})
	defer close(queue)
	buf := make([]byte, 65536)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if !k.fits(n) || enter != nil && !enter(buf[:n]) || uint64(rand.Uint32()) < k.loss.Load() {
			continue
		}
		select {
		case queue <- packet{time.Now().Add(k.delay.OneWay), append([]byte(nil), buf[:n]...)}:
		default: // a full link drops
		}
	}
}

// up treats packets on their way from the host to the core.
func (k *Link) up(host *os.File) stage {
	return func(b []byte) bool {
		p, ok := parseIPv4(b)
		if !ok {
			return k.carriesOther(b)
		}
		now := time.Now()
		switch leave(k.nats, now, p) {
		case turned:
			host.Write(b)
			return false
		case dropped:
			return false
		}
		k.see(Seen{now, true, p.proto(), p.src(), p.dst(), p.payload()})
		return p.age(k.delay.Hops)
	}
}

// down treats packets on their way from the core to the host.
func (k *Link) down() stage {
	return func(b []byte) bool {
		p, ok := parseIPv4(b)
		if !ok {
			return k.carriesOther(b)
		}
		s := Seen{time.Now(), false, p.proto(), p.src(), p.dst(), p.payload()}
		if !p.age(k.delay.Hops) || arrive(k.nats, s.At, p) != passed {
			return false
		}
		k.see(s)
		return true
	}
}

// carriesOther passes what translators do not know: IPv6 for less hops, and of the
// rest what no translator stands in the way of.
func (k *Link) carriesOther(b []byte) bool {
	if len(b) < 40 || b[0]>>4 != 6 {
		return len(k.nats) == 0
	}
	if int(b[7]) <= k.delay.Hops {
		return false
	}
	b[7] -= byte(k.delay.Hops)
	return true
}

func (k *Link) see(s Seen) {
	if f := k.watch.Load(); f != nil {
		(*f)(s)
	}
}
