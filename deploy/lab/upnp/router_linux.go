package upnp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"meshd/deploy/lab"
)

// patience is how long miniupnpd may take to start and to end.
const patience = 10 * time.Second

// Config says which protocols a router speaks. All of them, if nothing is set.
type Config struct {
	NoPCP    bool
	NoNATPMP bool // nor PCP, which lives on its port
	NoUPnP   bool
	IGD1     bool // the old UPnP, without AddAnyPortMapping
}

// Router is miniupnpd on the gateway of a site. It is used by one goroutine.
type Router struct {
	host  *lab.Host
	conf  string
	ports []string // that it opens
	proc  *exec.Cmd
	said  Journal
}

// Start gives a site's gateway the rules that mapping needs, and starts miniupnpd
// there. It ends with the lab.
func Start(ctx context.Context, site *lab.Site, c Config) (*Router, error) {
	if _, err := exec.LookPath("miniupnpd"); err != nil {
		return nil, errors.New("no miniupnpd to make a router of: install Debian's package miniupnpd-nftables")
	}
	r := &Router{host: site.Gateway, conf: filepath.Join(site.Gateway.Folder(), "miniupnpd.conf"), ports: c.ports()}
	if err := r.host.Forward(c.rules()); err != nil {
		return nil, err
	}
	if err := os.WriteFile(r.conf, []byte(c.text(site)), 0o644); err != nil {
		return nil, fmt.Errorf("configure miniupnpd: %w", err)
	}
	return r, r.boot(ctx)
}

func (c Config) ports() (list []string) {
	if !c.NoUPnP {
		list = append(list, "5000")
	}
	if !c.NoNATPMP {
		list = append(list, "5351")
	}
	return list
}

func (c Config) text(site *lab.Site) string {
	word := map[bool]string{true: "yes", false: "no"}
	return fmt.Sprintf("%sallow 1024-65535 %s 1024-65535\nenable_upnp=%s\nenable_natpmp=%s\nforce_igd_desc_v1=%s\n",
		daemonConf, site.LAN, word[!c.NoUPnP], word[!c.NoNATPMP], word[c.IGD1])
}

const daemonConf = `
ext_ifname=wan0
ext_ifname6=wan0
listening_ip=lan0
http_port=5000
secure_mode=yes
system_uptime=no
uuid=00000000-0000-4000-8000-000000000001
min_lifetime=20
max_lifetime=86400
upnp_table_name=upnp
upnp_nat_table_name=upnp
upnp_forward_chain=mapped
upnp_nat_chain=redirected
upnp_nat_postrouting_chain=left
`

func (c Config) rules() string {
	if c.NoPCP {
		return mappingRules + noPCPRules
	}
	return mappingRules
}

// mappingRules are where miniupnpd puts its own, and a firewall for IPv6 that lets
// in what those accept: it stands in the place of the site's.
const mappingRules = `
add table ip6 gateway
delete table ip6 gateway
add rule ip gateway forward ct status dnat accept
table inet upnp {
	chain forward {
		type filter hook forward priority -1;
		jump mapped
		meta nfproto ipv6 iifname wan0 ct state new drop
	}
	chain mapped {}
	chain prerouting {
		type nat hook prerouting priority -100;
		jump redirected
	}
	chain redirected {}
	chain postrouting {
		type nat hook postrouting priority 99;
		jump left
	}
	chain left {}
}
`

// noPCPRules drop requests by version, their first byte: 2 is PCP, 0 is NAT-PMP.
const noPCPRules = `
table inet one {
	chain in {
		type filter hook input priority -5;
		udp dport 5351 @th,64,8 2 drop
	}
}
`

// boot starts miniupnpd, without a memory of mappings, and returns when it answers.
func (r *Router) boot(ctx context.Context) error {
	r.proc = r.host.Command(context.Background(), "miniupnpd", "-d", "-f", r.conf, "-P", "/run/miniupnpd.pid")
	r.proc.Stdout, r.proc.Stderr = &r.said, &r.said
	if err := r.proc.Start(); err != nil {
		return fmt.Errorf("start miniupnpd: %w", err)
	}
	return r.await(ctx, "start miniupnpd", func() bool {
		out, _ := r.host.Run(ctx, "ss", "-Hlntu")
		for _, port := range r.ports {
			if !strings.Contains(out, ":"+port+" ") {
				return false
			}
		}
		return true
	})
}

// Stop ends miniupnpd without a warning, as a power cut does. What it mapped stays.
func (r *Router) Stop(ctx context.Context) error {
	pid, err := r.host.Process("miniupnpd")
	if err != nil {
		return nil // it is gone
	}
	syscall.Kill(pid, syscall.SIGKILL)
	err = r.await(ctx, "end miniupnpd", func() bool {
		_, err := r.host.Process("miniupnpd")
		return err != nil
	})
	r.proc.Wait() // its status is the signal's
	return err
}

// Reboot makes the router forget every mapping and connection, and start again.
func (r *Router) Reboot(ctx context.Context) error {
	if err := r.Stop(ctx); err != nil {
		return err
	}
	forget := "nft flush chain inet upnp mapped; nft flush chain inet upnp redirected; nft flush chain inet upnp left; conntrack -F"
	if err := r.host.Shell(forget); err != nil {
		return err
	}
	return r.boot(ctx)
}

// Mappings lists the ports that are mapped now, a rule of nftables each.
func (r *Router) Mappings(ctx context.Context) ([]string, error) {
	out, err := r.host.Run(ctx, "nft", "list", "chain", "inet", "upnp", "redirected")
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "dnat") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list, nil
}

// Log returns what miniupnpd has said so far.
func (r *Router) Log() string { return r.said.String() }

func (r *Router) await(ctx context.Context, what string, true func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !true() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not after %v\n%s", what, patience, r.Log())
		case <-tick.C:
		}
	}
	return nil
}

// Journal is what a process says, to be read while it speaks.
type Journal struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

// Write implements [io.Writer].
func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

// String is all that was said so far.
func (j *Journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}
