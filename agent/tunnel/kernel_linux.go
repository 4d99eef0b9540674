package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"meshd/agent/tunnel/filter"
)

// Steering is what a [Transport] must know besides for the kernel's WireGuard,
// which sends to direct paths by itself.
type Steering interface {
	Transport

	// Direct is where a peer's packets go if they go straight from the port; zero:
	// they are for Send to bring on their way.
	Direct(peer Key) netip.AddrPort

	// Turned has something to read when Direct of some peer has changed.
	Turned() <-chan struct{}

	// Moved is told of packets that the kernel sent and received over a peer's
	// direct path, keepalives not counted; of packets of any kind that came to it
	// straight; and that a handshake is complete. Of each it is told at least whether
	// there were any.
	Moved(peer Key, sent, received, straight int, answered bool)

	// Roamed is told that a peer's packets came from another address than Direct. It
	// reports whether the kernel shall send there, as it does by itself.
	Roamed(peer Key, addr netip.AddrPort) bool
}

// kernelReady says why the kernel's WireGuard can't be used. Asking for the family
// of messages has the kernel load the module, if it is on the disk.
func kernelReady() error {
	_, err := netlink.GenlFamilyGet(unix.WG_GENL_NAME)
	if errors.Is(err, unix.ENOENT) {
		return errors.New("the module is not loaded")
	}
	return err
}

// kernel is the kernel's WireGuard.
//
//	application ─ route ─► interface ─► the kernel's WireGuard ─► port ─► direct path
//	                                            ▲ │ loopback, an address a peer
//	                                            │ ▼
//	                     Receivers() ─────────► proxy ───────► Send(peer, packets)
type kernel struct {
	name      string
	index     int
	port      uint16
	mark      int
	log       *slog.Logger
	client    *wgctrl.Client
	transport Steering
	proxy     *proxy

	stop  context.CancelFunc
	tasks sync.WaitGroup
	died  chan struct{}

	mu      sync.Mutex // guards following, and is held over changes of the device
	key     wgtypes.Key
	public  wgtypes.Key // of key
	want    map[Key]Peer
	meters  map[Key]*meter
	inbound filter.Rules
}

// newKernel makes the interface and takes over the transport's receivers. A port
// that is taken is EADDRINUSE.
func newKernel(c Config) (Tunnel, error) {
	transport, ok := c.Transport.(Steering)
	if !ok {
		return nil, errors.New("the transport does not say where packets go, as the kernel's WireGuard must know")
	}
	k := &kernel{
		name: c.Interface, port: c.Port, mark: int(c.Mark), log: c.Log, transport: transport, died: make(chan struct{}),
		key: wgtypes.Key(c.PrivateKey), public: wgtypes.Key(c.PrivateKey).PublicKey(), want: make(map[Key]Peer), meters: make(map[Key]*meter), inbound: c.Inbound,
	}
	var err error
	if k.client, err = wgctrl.New(); err != nil {
		return nil, fmt.Errorf("ask the kernel's WireGuard: %w", err)
	}
	if err := k.open(c.MTU); err != nil {
		k.client.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.tasks.Go(func() { k.proxy.run(k.transport.Send) })
	for _, receive := range transport.Receivers() {
		k.tasks.Go(func() { k.proxy.deliver(receive, transport.BatchSize(), c.MTU+deliverMargin) })
	}
	k.tasks.Go(func() { k.watch(ctx) })
	return k, nil
}

// open makes the interface, or nothing.
func (k *kernel) open(mtu int) error {
	if err := k.createLink(mtu); err != nil {
		return err
	}
	link, err := netlink.LinkByName(k.name)
	if err == nil {
		k.index = link.Attrs().Index
		err = k.configure(wgtypes.Config{PrivateKey: &k.key, ListenPort: new(int(k.port)), FirewallMark: &k.mark, ReplacePeers: true})
	}
	if err == nil {
		err = setKernelFilter(k.name, k.inbound)
	}
	if err == nil {
		err = netlink.LinkSetUp(link) // this binds the port
	}
	if err == nil {
		k.proxy, err = newProxy(k.port)
	}
	if err != nil {
		k.deleteLink()
		k.dropFilter()
		return fmt.Errorf("set up interface %q: %w", k.name, err)
	}
	return nil
}

// createLink refuses a name that exists.
func (k *kernel) createLink(mtu int) error {
	err := netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: k.name, MTU: mtu}})
	if err != nil {
		return createError(k.name, err)
	}
	return nil
}

// CleanUp removes interfaces of the kernel's WireGuard with this private key. A
// process that is killed leaves its own behind, with its name and its UDP port;
// nobody else has its key. It is not for when a [Tunnel] with the key is up.
func CleanUp(key PrivateKey, log *slog.Logger) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	links = slices.DeleteFunc(links, func(l netlink.Link) bool { return l.Type() != "wireguard" })
	if len(links) == 0 {
		return nil
	}
	client, err := wgctrl.New()
	if err != nil {
		return fmt.Errorf("ask the kernel's WireGuard: %w", err)
	}
	defer client.Close()
	public := wgtypes.Key(key).PublicKey()
	for _, l := range links {
		if d, err := client.Device(l.Attrs().Name); err != nil || d.PublicKey != public {
			continue
		}
		log.Info("removing an interface that a daemon left behind", "iface", l.Attrs().Name)
		if err := netlink.LinkDel(l); err != nil && !isGone(err) {
			return fmt.Errorf("remove interface %q: %w", l.Attrs().Name, err)
		}
		if err := dropKernelFilter(l.Attrs().Name); err != nil {
			return err
		}
	}
	return nil
}

func (k *kernel) Name() string          { return k.name }
func (k *kernel) Backend() string       { return Kernel }
func (k *kernel) Wait() <-chan struct{} { return k.died }

// SetPeers compares with what the device has, see the same of userspace.
func (k *kernel) SetPeers(peers []Peer) error {
	want, err := normal(peers)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.want)
	for _, p := range want {
		k.want[p.Key] = p
	}
	if err := k.proxy.setPeers(k.want); err != nil {
		return fmt.Errorf("set peers of %s: %w", k.name, err)
	}
	d, err := k.client.Device(k.name)
	if err != nil {
		return fmt.Errorf("read state of %s: %w", k.name, err)
	}
	if err := k.mend(d); err != nil {
		return fmt.Errorf("set peers of %s: %w", k.name, err)
	}
	return nil
}

// mend brings the device's peers in line with those wanted. The caller holds mu.
func (k *kernel) mend(d *wgtypes.Device) error {
	changes := peerChanges(d.Peers, k.want, k.endpoint)
	if len(changes) == 0 {
		return nil
	}
	return k.configure(wgtypes.Config{Peers: changes})
}

// endpoint is where the kernel is to send a peer's packets. Without a session these
// are handshakes, and left to the transport: it knows when one is not answered, and
// repeats it where a way appears. So are addresses with a zone: the messages that
// configure WireGuard have no room for one. The caller holds mu.
func (k *kernel) endpoint(peer Key) netip.AddrPort {
	to := k.transport.Direct(peer)
	if to.IsValid() && to.Addr().Zone() == "" && k.meters[peer].alive(time.Now()) {
		return to
	}
	return k.proxy.address(peer)
}

func (k *kernel) configure(c wgtypes.Config) error { return k.client.ConfigureDevice(k.name, c) }

func (k *kernel) SetPrivateKey(key PrivateKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.key, k.public = wgtypes.Key(key), wgtypes.Key(key).PublicKey()
	if err := k.configure(wgtypes.Config{PrivateKey: &k.key}); err != nil {
		return fmt.Errorf("set private key of %s: %w", k.name, err)
	}
	return nil
}

func (k *kernel) Stats() (map[Key]Stats, error) {
	d, err := k.client.Device(k.name)
	if err != nil {
		return nil, fmt.Errorf("read state of %s: %w", k.name, err)
	}
	stats := make(map[Key]Stats, len(d.Peers))
	for _, p := range d.Peers {
		stats[Key(p.PublicKey)] = Stats{LastHandshake: p.LastHandshakeTime, RxBytes: uint64(p.ReceiveBytes), TxBytes: uint64(p.TransmitBytes)}
	}
	return stats, nil
}

// Close removes the interface, if it is still there.
func (k *kernel) Close() error {
	k.stop()
	err := errors.Join(k.transport.Close(), k.proxy.close())
	k.tasks.Wait()
	k.deleteLink()
	k.dropFilter()
	return errors.Join(err, k.client.Close())
}

// SetInbound changes the table of what may come in.
func (k *kernel) SetInbound(rules filter.Rules) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.inbound = rules
	return setKernelFilter(k.name, rules)
}

// holdInbound puts the table back that another program took away or changed, as
// firewalls do that begin by flushing everything. The caller holds mu.
func (k *kernel) holdInbound() {
	if k.inbound == nil || kernelFilterStands(k.name, k.inbound) {
		return
	}
	k.log.Warn("filter of what comes in was changed by another program, setting it again", "iface", k.name)
	if err := setKernelFilter(k.name, k.inbound); err != nil {
		k.log.Warn("filter not mended", "iface", k.name, "err", err)
	}
}

func (k *kernel) dropFilter() {
	if k.inbound == nil {
		return
	}
	if err := dropKernelFilter(k.name); err != nil {
		k.log.Warn("filter not removed", "iface", k.name, "err", err)
	}
}

// deleteLink goes by number: the name may be somebody else's by now.
func (k *kernel) deleteLink() {
	link, err := netlink.LinkByIndex(k.index)
	if k.index == 0 {
		link, err = netlink.LinkByName(k.name)
	}
	if err == nil && link.Type() == "wireguard" {
		err = netlink.LinkDel(link)
	}
	var gone netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &gone) && !errors.Is(err, unix.ENODEV) {
		k.log.Warn("interface not removed", "iface", k.name, "err", err)
	}
}

// isGone reports whether an error means that there is no such interface.
func isGone(err error) bool {
	var gone netlink.LinkNotFoundError
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.As(err, &gone)
}

func udpAddr(a netip.AddrPort) *net.UDPAddr { return net.UDPAddrFromAddrPort(a) }

// keepaliveOf makes a pointer, as wgctrl wants it.
func keepaliveOf(d time.Duration) *time.Duration { return &d }

// sameLink reports whether the interface of our name is the one that we made.
func (k *kernel) sameLink() bool {
	link, err := netlink.LinkByName(k.name)
	return err == nil && link.Attrs().Index == k.index
}
