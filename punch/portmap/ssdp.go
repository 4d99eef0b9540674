package portmap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"
)

const ssdpPort = 1900

// ssdpTargets are searched for. Some gateways answer to the last alone, which
// every device does: it is sent to the gateway only.
var ssdpTargets = []string{
	"urn:schemas-upnp-org:device:InternetGatewayDevice:1",
	"urn:schemas-upnp-org:device:InternetGatewayDevice:2",
	"upnp:rootdevice",
}

// maxLocations bounds the descriptions that are fetched: a gateway has one or
// two, a LAN may have someone who answers for all addresses.
const maxLocations = 4

// discover searches for the gateway's device description and calls visit with
// each location that is on the gateway, until visit returns nil or ctx ends.
//
// The gateway is asked by itself first: that opens a firewall on this host for
// its answer, and needs no multicast. Others may answer the multicast search;
// they are not heard.
func discover(ctx context.Context, g Gateway, visit func(*url.URL) error) error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.Local, 0)))
	if err != nil {
		return fmt.Errorf("search by SSDP: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	s := ssdpSearch{gateway: g, conn: conn, visit: visit, reason: errors.New("no answer")}
	for wait := firstResend; ctx.Err() == nil; wait *= 2 {
		if err := s.send(); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		switch err := s.receive(); {
		case err == nil:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return ended(ctx, s.reason, err)
		}
	}
	return ended(ctx, s.reason, ctx.Err())
}

type ssdpSearch struct {
	gateway Gateway
	conn    *net.UDPConn
	visit   func(*url.URL) error
	visited []string
	reason  error // why there is nothing yet
}

// send searches at the gateway, then on its link. Only the first has to work.
func (s *ssdpSearch) send() error {
	group := netip.AddrFrom4([4]byte{239, 255, 255, 250})
	if s.gateway.Addr.Is6() {
		group = netip.MustParseAddr("ff02::c").WithZone(s.gateway.Addr.Zone())
	}
	for i, to := range []netip.Addr{s.gateway.Addr, group} {
		for _, target := range ssdpTargets[:len(ssdpTargets)-i] {
			b := ssdpRequest(group.WithZone(""), target)
			if _, err := s.conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(to, ssdpPort)); err != nil && to == s.gateway.Addr {
				return fmt.Errorf("search by SSDP: %w", err)
			}
		}
	}
	return nil
}

// ssdpRequest is an M-SEARCH whose answer may be delayed by a second at most,
// which is the least that can be asked for.
func ssdpRequest(group netip.Addr, target string) []byte {
	return fmt.Appendf(nil, "M-SEARCH * HTTP/1.1\r\nHOST: %s\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: %s\r\n\r\n",
		netip.AddrPortFrom(group, ssdpPort), target)
}

func (s *ssdpSearch) receive() error {
	buf := make([]byte, 4096)
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			return err
		}
		location, err := ssdpLocation(buf[:n], s.gateway.Addr)
		if err != nil {
			continue // somebody's television
		}
		if !s.isNew(location) {
			continue
		}
		if s.reason = s.visit(location); s.reason == nil {
			return nil
		}
	}
}

func (s *ssdpSearch) isNew(u *url.URL) bool {
	for _, v := range s.visited {
		if v == u.String() {
			return false
		}
	}
	s.visited = append(s.visited, u.String())
	return len(s.visited) <= maxLocations
}

// ssdpLocation reads where an answer says the device description is.
func ssdpLocation(b []byte, gateway netip.Addr) (*url.URL, error) {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return nil, fmt.Errorf("read SSDP answer: %w", err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("SSDP answer %q", r.Status)
	}
	u, err := r.Location()
	if err != nil {
		return nil, fmt.Errorf("SSDP answer: %w", err)
	}
	if _, err := onGateway(u, gateway); err != nil {
		return nil, err
	}
	return u, nil
}
