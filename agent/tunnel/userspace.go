package tunnel

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"meshd/agent/tunnel/fastpath"
	"meshd/agent/tunnel/filter"
)

// userspace is wireguard-go on a TUN device.
type userspace struct {
	name    string
	dev     *device.Device
	bind    *bind
	inbound *filter.Filter

	fast *fastpath.Path // nil: none
	slow string         // why there is no fast path; empty: there is, or can't be on this system

	stop  context.CancelFunc
	tasks sync.WaitGroup // of our own; the device looks after its own

	mu sync.Mutex // one change of configuration at a time
}

// newUserspace starts WireGuard on dev, which it takes over, also when it fails.
func newUserspace(c Config, dev tun.Device) (*userspace, error) {
	name, err := dev.Name()
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("name of interface %q: %v", c.Interface, err)
	}
	inbound := filter.New(nil)
	inbound.Set(c.Inbound)
	fast, slow, err := newFast(dev, c.Transport, inbound)
	if err != nil {
		dev.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	u := &userspace{name: name, bind: &bind{transport: c.Transport}, inbound: inbound, fast: fast, slow: slow, stop: stop}
	if w, ok := dev.(watcher); ok {
		u.tasks.Go(w.Watch)
	}
	if fast != nil {
		dev, u.bind.transport = fast.TUN(), fast
	} else {
		dev, u.bind.transport = pace(filteredTUN{dev, inbound}, c.Transport)
	}
	if slow != "" {
		c.Log.Warn("no fast path for packets", "iface", name, "reason", slow)
	}
	steady := newSteadyTUN(dev)
	u.tasks.Go(steady.run)
	u.dev = device.NewDevice(steady, u.bind, newDeviceLog(c.Log))
	if fast != nil {
		u.bind.made = func(k Key) {
			if p := u.dev.LookupPeer(device.NoisePublicKey(k)); p != nil { // nil: the key is our own
				fast.Slim(p)
			}
		}
		u.tasks.Go(func() { fast.Run(u.dev) })
	}
	// Before there are peers: it holds for those that are made later.
	u.dev.DisableSomeRoamingForBrokenMobileSemantics()
	if err = u.SetPrivateKey(c.PrivateKey); err == nil {
		err = u.dev.Up()
	}
	if err != nil {
		u.Close()
		return nil, fmt.Errorf("start interface %q: %v", name, err)
	}
	u.serve(ctx, c.Log)
	return u, nil
}

// serve answers `wg show` until ctx ends. The mesh does without, if need be.
func (u *userspace) serve(ctx context.Context, log *slog.Logger) {
	l, err := listenUAPI(u.name)
	if err != nil {
		log.Warn("no socket for wg show", "iface", u.name, "err", err)
		return
	}
	u.tasks.Go(func() { serveUAPI(ctx, l, u.dev.IpcGetOperation) })
}

func (u *userspace) Name() string          { return u.name }
func (u *userspace) Backend() string       { return Userspace }
func (u *userspace) Wait() <-chan struct{} { return u.dev.Wait() }

// SetPeers compares with what the device has, not with what it was told last:
// a set that failed half way is made good by the next.
func (u *userspace) SetPeers(peers []Peer) error {
	want, err := normal(peers)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	have, err := u.states()
	if err != nil {
		return err
	}
	var changes bytes.Buffer
	writeChanges(&changes, have, want)
	if changes.Len() == 0 {
		return nil
	}
	u.bind.peers.set(want)
	if err := u.dev.IpcSetOperation(&changes); err != nil {
		return fmt.Errorf("set peers of %s: %v", u.name, err)
	}
	return nil
}

// SetPrivateKey goes by way of IPC, which clamps the key.
func (u *userspace) SetPrivateKey(k PrivateKey) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.dev.IpcSet(fmt.Sprintf("private_key=%x\n", [32]byte(k))); err != nil {
		return fmt.Errorf("set private key of %s: %v", u.name, err)
	}
	return nil
}

// SetInbound takes effect with the next packet.
func (u *userspace) SetInbound(rules filter.Rules) error {
	u.inbound.Set(rules)
	return nil
}

// Stats asks the peers themselves where it can: the device's text is longer than
// all that is held for a peer at rest.
func (u *userspace) Stats() (map[Key]Stats, error) {
	if u.fast != nil {
		return u.counters(), nil
	}
	states, err := u.states()
	if err != nil {
		return nil, err
	}
	stats := make(map[Key]Stats, len(states))
	for k, s := range states {
		stats[k] = s.stats
	}
	return stats, nil
}

// counters reads the statistics of the peers that the device has.
func (u *userspace) counters() map[Key]Stats {
	peers := u.bind.peers.load()
	all := make(map[Key]Stats, len(peers))
	for k := range peers {
		if p := u.dev.LookupPeer(device.NoisePublicKey(k)); p != nil {
			var s Stats
			s.RxBytes, s.TxBytes, s.LastHandshake = u.fast.Counters(p)
			all[k] = s
		}
	}
	return all
}

// states asks the device for its peers.
func (u *userspace) states() (map[Key]*state, error) {
	var text bytes.Buffer
	if err := u.dev.IpcGetOperation(&text); err != nil {
		return nil, fmt.Errorf("read state of %s: %v", u.name, err)
	}
	defer clear(text.Bytes()) // the private key is in there
	return parseState(text.Bytes())
}

// Health is a sentence about what is worse than it could be; empty: nothing.
func (u *userspace) Health() string {
	if u.slow == "" {
		return ""
	}
	return "packets take the slow path: " + u.slow
}

// Fast is how many packets the fast path sealed and opened; 0 and 0: none, or there
// is no such path.
func (u *userspace) Fast() (sealed, opened uint64) {
	if u.fast == nil {
		return 0, 0
	}
	return u.fast.Packets()
}

func (u *userspace) Close() error {
	u.stop()
	// Before the device, which leaves it open if it never came up, and waits for the
	// fast path to end.
	err := u.bind.transport.Close()
	u.dev.Close()
	u.tasks.Wait()
	return err
}
