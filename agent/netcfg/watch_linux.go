package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// settle is how long changes are gathered before they are looked at.
	settle = 100 * time.Millisecond
	// retryAfter is the pause before what failed is tried again.
	retryAfter = time.Second
)

// watcher compares the network with what it was. Messages of the kernel only
// tell it when to look, so none that is lost can mislead it.
type watcher struct {
	host    *host
	changed func(Event)

	last  way
	dirty chan struct{} // ticks when something may have changed
	sub   *subscription // nil while there is none
	look  <-chan time.Time
	retry <-chan time.Time
}

// Watch runs on the calling goroutine, and all it asks the kernel is asked from
// there: the network namespace may be the thread's.
func (h *host) Watch(ctx context.Context, changed func(Event)) error {
	w := &watcher{host: h, changed: changed, dirty: make(chan struct{}, 1)}
	var err error
	if w.sub, err = subscribe(w.dirty); err != nil {
		return fmt.Errorf("subscribe to changes of the network: %v", err)
	}
	defer func() { w.sub.close() }()
	if w.last, err = currentWay(); err != nil {
		return err
	}
	w.run(ctx)
	return nil
}

func (w *watcher) run(ctx context.Context) {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	start := time.Now()
	clocks := clock(start)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.dirty:
			if w.look == nil {
				w.look = time.After(settle)
			}
		case <-w.look:
			w.compare()
		case err := <-w.sub.failed():
			w.resubscribe(err)
		case <-w.retry:
			w.resubscribe(nil)
		case <-tick.C:
			now := clock(start)
			if d := jump(clocks, now); d != 0 {
				w.changed(Event{Reason: fmt.Sprintf("the clock jumped by %v", d.Round(time.Second))})
			}
			clocks = now
		}
	}
}

// compare tells what is not as it was, or as Configure made it.
func (w *watcher) compare() {
	w.look = nil
	now, err := currentWay()
	if err != nil {
		w.host.log.Debug("network not read", "err", err)
		w.look = time.After(retryAfter)
		return
	}
	if reason := w.last.change(now); reason != "" {
		w.last = now
		w.changed(Event{Reason: reason})
	}
	for _, e := range w.host.drifted() {
		w.changed(e)
	}
}

// resubscribe replaces a subscription that failed with err, and looks at what
// may have been missed.
func (w *watcher) resubscribe(err error) {
	w.sub.close()
	w.sub, w.retry = nil, nil
	if err == nil {
		w.sub, err = subscribe(w.dirty)
	}
	if err != nil {
		w.host.log.Debug("no subscription to the network", "err", err)
		w.retry = time.After(retryAfter)
		return
	}
	w.look = time.After(settle)
}

// subscription is a netlink socket that is told of changes, and its reader.
type subscription struct {
	sock  *nl.NetlinkSocket
	ended chan error     // the reader's last word
	tasks sync.WaitGroup // the reader
}

// subscribe ticks dirty for every change that may matter.
func subscribe(dirty chan<- struct{}) (*subscription, error) {
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, err
	}
	s := &subscription{sock: sock, ended: make(chan error, 1)}
	s.tasks.Go(func() { s.ended <- s.read(dirty) })
	return s, nil
}

// read returns when the socket fails or is closed. A full buffer (ENOBUFS) only
// means that messages are lost: reason to look, not to end.
func (s *subscription) read(dirty chan<- struct{}) error {
	for {
		messages, from, err := s.sock.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
		if err == nil && from.Pid != nl.PidKernel {
			continue
		}
		matter := err != nil
		for _, m := range messages {
			matter = matter || matters(m.Header.Type, m.Data)
		}
		if matter {
			select {
			case dirty <- struct{}{}:
			default:
			}
		}
	}
}

// matters passes over routes that are neither default routes nor ours: a router
// has thousands, and they come and go.
func matters(kind uint16, data []byte) bool {
	if kind != unix.RTM_NEWROUTE && kind != unix.RTM_DELROUTE {
		return true
	}
	if len(data) < unix.SizeofRtMsg {
		return false
	}
	m := nl.DeserializeRtMsg(data)
	return m.Dst_len <= 1 || m.Protocol == routeProtocol
}

func (s *subscription) failed() <-chan error {
	if s == nil {
		return nil
	}
	return s.ended
}

// close returns when the reader has ended.
func (s *subscription) close() {
	if s != nil {
		s.sock.Close()
		s.tasks.Wait()
	}
}

// currentWay reads how packets leave the host now.
func currentWay() (way, error) {
	addresses, err := usableAddresses()
	if err != nil {
		return way{}, err
	}
	routes, err := listRoutes(&netlink.Route{Type: unix.RTN_UNICAST}, netlink.RT_FILTER_TYPE)
	if err != nil {
		return way{}, err
	}
	w := way{addresses: addresses}
	for _, r := range routes {
		if p, ok := toPrefix(r.Dst); ok && everything(p) && r.Protocol != routeProtocol {
			w.defaults = append(w.defaults, describe(r))
		}
	}
	return w, nil
}

// describe names a route by all that says which way it goes.
func describe(r netlink.Route) string {
	var gateways []net.IP
	for _, hop := range r.MultiPath {
		gateways = append(gateways, hop.Gw)
	}
	if r.Gw != nil {
		gateways = append(gateways, r.Gw)
	}
	return fmt.Sprintf("%v via %v interface %d metric %d", r.Dst, gateways, r.LinkIndex, r.Priority)
}
