package mdns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/grandcat/zeroconf"
	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sync/errgroup"
)

const (
	port    = 5353 // of multicast DNS (RFC 6762 §3)
	maxSize = 9000 // of a message (RFC 6762 §17)
)

var (
	group4 = net.IPv4(224, 0, 0, 251)
	group6 = net.ParseIP("ff02::fb")
)

// mention is what somebody says of an instance: that it is there, or that it
// leaves.
type mention struct {
	instance string // as [Service] has it
	leaves   bool
}

// mentions reads what a message says of instances of a type. A record that has no
// time to live is a goodbye (RFC 6762 §10.1).
func mentions(message []byte, typ string) (list []mention) {
	var m dns.Msg
	if m.Unpack(message) != nil || !m.Response {
		return nil
	}
	name := typ + "." + domain + "."
	for _, rr := range m.Answer {
		ptr, ok := rr.(*dns.PTR)
		if !ok || !strings.EqualFold(ptr.Hdr.Name, name) {
			continue
		}
		if labels := dns.Split(ptr.Ptr); len(labels) > 1 && strings.EqualFold(ptr.Ptr[labels[1]:], name) {
			list = append(list, mention{ptr.Ptr[:labels[1]-1], ptr.Hdr.Ttl == 0})
		}
	}
	return list
}

// listen tells what is said of instances of a type until ctx ends, asking nothing.
// zeroconf does not tell who says goodbye.
func listen(ctx context.Context, typ string, on []Interface, said func(mention)) error {
	list, err := netInterfaces(on)
	if err != nil {
		return err
	}
	var ears errgroup.Group
	for family, open := range map[zeroconf.IPType]func([]net.Interface) (*ear, error){zeroconf.IPv4: openEar4, zeroconf.IPv6: openEar6} {
		if families(on)&family == 0 {
			continue
		}
		ears.Go(func() error {
			e, err := open(list)
			if err != nil {
				return fmt.Errorf("listen for %s: %w", typ, err)
			}
			defer e.Close()
			defer context.AfterFunc(ctx, func() { e.Close() })()
			return e.hear(list, func(message []byte) {
				for _, m := range mentions(message, typ) {
					said(m)
				}
			})
		})
	}
	return ears.Wait()
}

// ear is a socket in a group of multicast DNS.
type ear struct {
	io.Closer
	read func(b []byte) (n, iface int, err error) // iface 0: the system does not tell
}

// hear passes on messages that come by one of some interfaces, until the ear is
// closed: it gets those of interfaces that others on this host listen at, too.
func (e *ear) hear(on []net.Interface, message func([]byte)) error {
	b := make([]byte, maxSize)
	for {
		n, iface, err := e.read(b)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if iface == 0 || slices.ContainsFunc(on, func(i net.Interface) bool { return i.Index == iface }) {
			message(b[:n])
		}
	}
}

func openEar4(on []net.Interface) (*ear, error) {
	sock, err := net.ListenUDP("udp4", &net.UDPAddr{IP: group4, Port: port}) // a group's address makes it shared
	if err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(sock)
	p.SetControlMessage(ipv4.FlagInterface, true) // not everywhere
	e := &ear{sock, func(b []byte) (int, int, error) {
		n, c, _, err := p.ReadFrom(b)
		if c == nil {
			return n, 0, err
		}
		return n, c.IfIndex, err
	}}
	return e.joined(on, func(i *net.Interface) error { return p.JoinGroup(i, &net.UDPAddr{IP: group4}) })
}

func openEar6(on []net.Interface) (*ear, error) {
	sock, err := net.ListenUDP("udp6", &net.UDPAddr{IP: group6, Port: port})
	if err != nil {
		return nil, err
	}
	p := ipv6.NewPacketConn(sock)
	p.SetControlMessage(ipv6.FlagInterface, true) // not everywhere
	e := &ear{sock, func(b []byte) (int, int, error) {
		n, c, _, err := p.ReadFrom(b)
		if c == nil {
			return n, 0, err
		}
		return n, c.IfIndex, err
	}}
	return e.joined(on, func(i *net.Interface) error { return p.JoinGroup(i, &net.UDPAddr{IP: group6}) })
}

// joined joins the group on each interface that lets it; none is an error.
func (e *ear) joined(on []net.Interface, join func(*net.Interface) error) (*ear, error) {
	var errs []error
	for _, i := range on {
		if err := join(&i); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", i.Name, err))
		}
	}
	if len(errs) == len(on) {
		e.Close()
		return nil, errors.Join(errs...)
	}
	return e, nil
}
