package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// figureLine begins a line by which this program in the guest tells a figure.
const figureLine = "figure "

// kernel has this program compare meshd over the kernel's WireGuard with the
// kernel's WireGuard alone, in a guest whose clock counts instructions: a ratio of
// rates there is one of instructions a byte, whatever else this machine does.
func (b *bench) kernel() error {
	if b.guest == "" {
		return errors.New("no -guest to measure the kernel's WireGuard in")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	words := append(strings.Fields(b.guest), "-icount", "-timeout", "20m", "-add", b.meshd+":/bin/meshd", self, "-inside", "/bin/meshd")
	cmd := exec.CommandContext(b.ctx, words[0], words[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text, told := strings.CutPrefix(lines.Text(), figureLine)
		var f Figure
		if told && json.Unmarshal([]byte(text), &f) == nil {
			b.figures = append(b.figures, f)
			continue
		}
		fmt.Println(lines.Text())
	}
	return cmd.Wait()
}

// inside is what runs in the guest. Each tunnel has two hosts of its own, for what
// meshd does to a host may cost others that are there, too.
func (b *bench) inside() error {
	p, err := b.newPair()
	if err != nil {
		return err
	}
	defer p.lab.Close()
	if err := p.a.AwaitPath(b.ctx, time.Minute, "b", "direct"); err != nil {
		return err
	}
	if s, err := p.a.Status(b.ctx); err != nil || s.Backend != "kernel" {
		return fmt.Errorf("the kernel's WireGuard is not used: %+v, %w", s, err)
	}
	ours, err := p.mesh(b)
	if err != nil {
		return err
	}
	plain, err := b.kernelPair(p.lab)
	if err != nil {
		return err
	}
	for _, l := range loads[:2] {
		if err := b.compareKernels(p, plain, ours.addr, l); err != nil {
			return err
		}
	}
	for _, f := range b.figures {
		text, err := json.Marshal(f)
		if err != nil {
			return err
		}
		fmt.Printf("%s%s\n", figureLine, text)
	}
	return nil
}

// kernelPair is two more hosts, with the kernel's WireGuard between them.
func (b *bench) kernelPair(l *lab.Lab) (*pair, error) {
	addrX, addrY := netip.MustParseAddr("198.51.100.4"), netip.MustParseAddr("198.51.100.5")
	p := &pair{lab: l}
	for _, h := range []struct {
		name  string
		addr  netip.Addr
		agent **mesh.Agent
	}{{"x", addrX, &p.a}, {"y", addrY, &p.b}} {
		host, err := l.Public(h.name, lab.Delay{}, h.addr)
		if err != nil {
			return nil, err
		}
		*h.agent = mesh.NewAgent(host, "")
	}
	return p, p.plainBy(b, "ip link add wg0 type wireguard", addrX, addrY)
}

// kernelRounds is how often each load goes through each of the two.
const kernelRounds = 5

func (b *bench) compareKernels(p, plain *pair, ours string, l load) error {
	var ratios []float64
	for range kernelRounds {
		base, _, err := plain.iperf(b, plainAddr, l.args...)
		if err != nil {
			return fmt.Errorf("%s by the kernel alone: %w", l.name, err)
		}
		over, _, err := p.iperf(b, ours, l.args...)
		if err != nil {
			return fmt.Errorf("%s by meshd: %w", l.name, err)
		}
		fmt.Printf("  %s: kernel alone %.3f Gbit/s, meshd %.3f Gbit/s\n", l.name, base, over)
		ratios = append(ratios, over/base)
	}
	b.add(l.name+", kernel backend", median(ratios), "x", "of the kernel's WireGuard alone")
	return nil
}
