package udp

import (
	"fmt"
	"net/netip"
	"os"
)

// offloadEnv is the way out for owners of a kernel or network card whose offloads
// corrupt datagrams: "off" acts as Config.NoOffload.
const offloadEnv = "MESHD_UDP_OFFLOAD"

// doorEnv is the way out for owners whose firewall is to have the last word: "off" has
// nothing heard before it.
const doorEnv = "MESHD_UDP_DOOR"

// defaultBuffer is the size of a socket's buffers in bytes: 14 ms at 4 Gbit/s,
// time enough for a reader that was scheduled away.
const defaultBuffer = 7 << 20

// Config says which socket to open.
type Config struct {
	// Addr is where to bind; port 0 means any. The address picks the family: an
	// IPv6 socket carries IPv6 only.
	Addr netip.AddrPort
	// Mark is the socket's SO_MARK, for routing rules. 0 means none; others need
	// CAP_NET_ADMIN. Linux only.
	Mark uint32
	// NoOffload keeps UDP_SEGMENT and UDP_GRO off. Such a socket also holds no
	// receive buffers of its own: right for one of many that carry little.
	NoOffload bool
	// Whole sends datagrams whole or not at all: none is fragmented on its way, and
	// no ICMP message, which anyone can forge, makes the system refuse it. A datagram
	// that is too long for the own link is an error (EMSGSIZE), for a later one it
	// is lost. Linux only.
	Whole bool
	// ReusePort lets several sockets share the port (SO_REUSEPORT). Linux only.
	ReusePort bool
	// RecvBuffer and SendBuffer are the kernel's buffers in bytes; 0 means 7 MiB.
	// The kernel may give less.
	RecvBuffer, SendBuffer int
}

// normal returns the configuration with its defaults filled in.
func (c Config) normal() (Config, error) {
	if !c.Addr.IsValid() {
		return c, fmt.Errorf("listen on UDP: no address given")
	}
	c.Addr = unmap(c.Addr)
	if c.RecvBuffer == 0 {
		c.RecvBuffer = defaultBuffer
	}
	if c.SendBuffer == 0 {
		c.SendBuffer = defaultBuffer
	}
	switch v := os.Getenv(offloadEnv); v {
	case "", "on":
	case "off":
		c.NoOffload = true
	default:
		return c, fmt.Errorf("listen on UDP: %s is %q, want on or off", offloadEnv, v)
	}
	return c, nil
}

func (c Config) network() string {
	if c.Addr.Addr().Is4() {
		return "udp4"
	}
	return "udp6"
}

// doorOff is the error of a door that must not be.
func doorOff(local netip.AddrPort) error {
	if v := os.Getenv(doorEnv); v != "" && v != "on" {
		return doorError(local, fmt.Errorf("%s is %q", doorEnv, v))
	}
	return nil
}

func doorError(local netip.AddrPort, err error) error {
	return fmt.Errorf("hear what comes to %v before the firewall: %w", local, err)
}

func sendError(to netip.AddrPort, err error) error {
	return fmt.Errorf("send to %v: %w", to, err)
}

// unmap makes an IPv4 address that is written as an IPv6 one IPv4 again, so that
// one address has one value.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
