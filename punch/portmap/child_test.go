package portmap_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"meshd/punch/portmap"
)

// childEnv tells the test binary to be the Mapper of a host in a lab, and how.
const childEnv = "PORTMAP_TEST_CHILD"

// childConfig is what childEnv holds, in JSON.
type childConfig struct {
	Gateways []portmap.Gateway
	Port     uint16
	Lifetime time.Duration
	Probe    bool // only look for protocols
}

// child runs a Mapper until its standard input ends, with something behind the
// port that sends back what it hears. It prints what Changed is told, a line each.
func child() {
	var c childConfig
	if err := json.Unmarshal([]byte(os.Getenv(childEnv)), &c); err != nil {
		panic(err)
	}
	out := json.NewEncoder(os.Stdout)
	m := portmap.New(portmap.Config{
		Gateways: func() ([]portmap.Gateway, error) { return c.Gateways, nil },
		Port:     c.Port,
		Lifetime: c.Lifetime,
		Changed:  func(list []portmap.Mapping) { out.Encode(list) },
		Log:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if c.Probe {
		report, err := m.Probe(context.Background())
		if err != nil {
			panic(err)
		}
		for _, p := range report.Available() {
			fmt.Println(p)
		}
		return
	}
	echo(netip.AddrPortFrom(netip.IPv6Unspecified(), c.Port))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			if strings.TrimSpace(in.Text()) == "refresh" {
				m.Refresh()
			}
		}
		cancel()
	}()
	m.Run(ctx)
}

// echo answers datagrams of both families with themselves.
func echo(addr netip.AddrPort) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		panic(err)
	}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				panic(err)
			}
			conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
}
