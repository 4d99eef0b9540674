package tundev

import (
	"bytes"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
)

// intoTunnels reports whether a host forwards into tunnels that take no UDP
// superpackets: of those which pass vxlan or geneve, kernels lose or corrupt some.
func intoTunnels(forwards bool, kinds []string) bool {
	return forwards && slices.ContainsFunc(kinds, func(k string) bool { return k == "vxlan" || k == "geneve" })
}

// lookForward decides whether UDP is joined, now that links or forwarding may have
// changed. What can't be read changes nothing.
func (d *Device) lookForward() {
	if !d.adapt {
		return
	}
	forwards := hostForwards()
	var kinds []string
	if forwards { // else nobody asks what links there are
		links, err := netlink.LinkList()
		if err != nil {
			d.log.Debug("links not read", "err", err)
			return
		}
		for _, l := range links {
			kinds = append(kinds, l.Type())
		}
	}
	split := intoTunnels(forwards, kinds)
	if d.split.Swap(split) == split {
		return
	}
	name, _ := d.Name()
	if split {
		d.log.Info("udp packets go one by one", "iface", name, "reason", "this host forwards, and has a vxlan or geneve")
	} else {
		d.log.Info("udp packets are joined again", "iface", name)
	}
}

// hostForwards reports whether the host passes packets on, in its own network
// namespace.
func hostForwards() bool {
	for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		b, _ := os.ReadFile(path) // there is none: no such protocol
		if v := bytes.TrimSpace(b); len(v) > 0 && string(v) != "0" {
			return true
		}
	}
	return false
}
