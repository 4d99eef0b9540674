// Command demo shows a mesh at work on one machine: it builds an internet of
// network namespaces, runs the real coordinator and agents in it, and tells step
// by step what it does and sees. It exits with 1 when anything is not as told.
//
//	demo [-keep] path/to/meshd
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"meshd/deploy/lab/mesh"
)

func main() {
	keep := flag.Bool("keep", false, "leave the mesh running until Ctrl-C")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: demo [-keep] path/to/meshd")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	bin, err := filepath.Abs(flag.Arg(0))
	if err == nil {
		err = run(ctx, bin, *keep)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

// limit ends a demo that hangs.
const limit = 110 * time.Second

func run(ctx context.Context, bin string, keep bool) error {
	begun := time.Now()
	w, err := mesh.NewWorld(bin, 10*time.Millisecond)
	if err != nil {
		return err
	}
	defer w.Close()
	told, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d := &demo{world: w, ctx: told}
	for _, step := range []func() error{d.internet, d.hub, d.join, d.status, d.pings, d.search, d.copies, d.outage} {
		if err := step(); err != nil {
			return errors.Join(err, d.logs())
		}
	}
	fmt.Printf("\nEverything was as told, in %.0f s.\n", time.Since(begun).Seconds())
	if keep {
		d.lookAround(bin)
		<-ctx.Done()
	}
	return nil
}

type demo struct {
	world *mesh.World
	ctx   context.Context
	step  int
}

func (d *demo) title(s string) {
	d.step++
	fmt.Printf("\n%d. %s\n\n", d.step, s)
}

func (d *demo) internet() error {
	d.title("An internet, made of network namespaces on this machine")
	fmt.Print(`   hub      203.0.113.1     a small server with a public address
   laptop   192.168.1.2     at home a, behind a Linux NAT   (198.51.100.10)
   nas      192.168.1.2     at home b, behind a Linux NAT   (198.51.100.20)
   desk     192.168.1.2     at an office, symmetric NAT     (198.51.100.30)
   tablet   192.168.1.2     at a hotel that blocks all but TCP 443
   Every site is 10 ms from the core, and all use the same 192.168.1.0/24.
`)
	return nil
}

func (d *demo) hub() error {
	d.title("The hub: one command, no domain, no certificate, no configuration file")
	fmt.Println("   hub# meshd coordinator serve")
	if err := d.world.Hub.Start(d.ctx); err != nil {
		return err
	}
	quote(d.world.Hub.Log())
	return nil
}

func (d *demo) join() error {
	d.title("Four machines join: one command each")
	for _, a := range d.world.Agents() {
		key, err := d.world.Hub.Join(d.ctx, "--approved")
		if err != nil {
			return err
		}
		fmt.Printf("   hub# meshd coordinator key create --approved\n   %s\n", key)
		begun := time.Now()
		out, err := a.Up(d.ctx, key)
		if err != nil {
			return err
		}
		fmt.Printf("   %s# meshd up meshd1:…   (took %v)\n", a.Host.Name, time.Since(begun).Round(time.Millisecond))
		quote(out)
		fmt.Println()
	}
	return nil
}

// paths is what each pair may come to: the tablet can only speak TLS with the hub,
// and the desk's NAT draws a random port for every destination, so that the way
// to it has to be searched for.
var paths = []struct {
	from, to string
	ways     []string
}{
	{"laptop", "nas", []string{"direct"}},
	{"laptop", "desk", []string{"relay", "direct"}},
	{"nas", "desk", []string{"relay", "direct"}},
	{"laptop", "tablet", []string{"relay"}},
	{"nas", "tablet", []string{"relay"}},
	{"desk", "tablet", []string{"relay"}},
	{"tablet", "laptop", []string{"tls"}},
}

func (d *demo) agent(name string) *mesh.Agent {
	for _, a := range d.world.Agents() {
		if a.Host.Name == name {
			return a
		}
	}
	panic("no agent " + name)
}

func (d *demo) status() error {
	d.title("What each of them sees")
	for _, p := range paths {
		if err := d.agent(p.from).AwaitPath(d.ctx, 10*time.Second, p.to, p.ways...); err != nil {
			return err
		}
	}
	for _, a := range d.world.Agents() {
		out, err := a.Command(d.ctx, "status")
		if err != nil {
			return err
		}
		fmt.Printf("   %s# meshd status\n", a.Host.Name)
		quote(out)
		fmt.Println()
	}
	return nil
}

func (d *demo) pings() error {
	d.title("A ping between all pairs, and by which path")
	for _, p := range paths {
		out, err := d.agent(p.from).Command(d.ctx, "ping", "-c", "1", p.to)
		if err != nil {
			return err
		}
		fmt.Printf("   %-7s %s\n", p.from, out)
		if !slices.ContainsFunc(p.ways, func(way string) bool { return wayOf(out) == way }) {
			return fmt.Errorf("ping from %s to %s should go by %s, but said %q", p.from, p.to, strings.Join(p.ways, " or "), out)
		}
	}
	return nil
}

// wayOf is the path that `meshd ping` told.
func wayOf(pong string) string {
	for _, way := range []string{"relay", "tls"} {
		if strings.Contains(pong, "via "+way) {
			return way
		}
	}
	return "direct"
}

// searchTime is what the search for the desk's port gets; 99 of 100 end sooner.
const searchTime = 25 * time.Second

func (d *demo) search() error {
	d.title("Direct where others relay: the port that the desk's NAT draws at random is searched for")
	laptop := d.agent("laptop")
	addr, err := laptop.Address(d.ctx, "desk")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(d.ctx, searchTime)
	defer cancel()
	traffic := laptop.Host.Command(ctx, "ping", "-q", "-i", "0.2", addr) // a search serves traffic, or is not made
	if err := traffic.Start(); err != nil {
		return err
	}
	defer traffic.Wait() // killed by then
	defer cancel()
	fmt.Println("   laptop# meshd ping desk --until-direct     (with the system's ping running beside it)")
	out, err := laptop.Command(ctx, "ping", "desk", "--until-direct")
	quote(out)
	if err != nil && d.ctx.Err() == nil {
		fmt.Println("   Not found this time, as happens once in a hundred. The relay serves on, and the next search follows later.")
	}
	return d.ctx.Err()
}

func (d *demo) copies() error {
	d.title("20 MB from the laptop to each of the others")
	for _, to := range []string{"nas", "desk", "tablet"} {
		p, err := d.agent("laptop").Peer(d.ctx, to)
		if err != nil {
			return err
		}
		begun := time.Now()
		if err := d.copy("laptop", to, 20<<20); err != nil {
			return err
		}
		took := time.Since(begun)
		fmt.Printf("   to %-7s by %-7s %4.1f s, %3.0f Mbit/s, checksum equal\n", to, p.Path, took.Seconds(), 20*8.4/took.Seconds())
	}
	return nil
}

func (d *demo) outage() error {
	d.title("The hub is killed, and the traffic goes on")
	addr, err := d.agent("laptop").Address(d.ctx, "nas")
	if err != nil {
		return err
	}
	ping := d.agent("laptop").Host.Command(d.ctx, "ping", "-q", "-i", "0.05", "-c", "100", addr)
	var said strings.Builder
	ping.Stdout = &said
	if err := ping.Start(); err != nil {
		return err
	}
	if err := d.world.Hub.Kill(); err != nil {
		return err
	}
	fmt.Println("   hub# kill -9 meshd")
	if err := d.copy("laptop", "nas", 5<<20); err != nil {
		return fmt.Errorf("with the hub gone: %w", err)
	}
	fmt.Println("   5 MB from laptop to nas while the hub is gone: checksum equal")
	if err := ping.Wait(); err != nil {
		return fmt.Errorf("ping with the hub gone: %w", err)
	}
	quote(said.String())
	if !strings.Contains(said.String(), " 0% packet loss") {
		return errors.New("packets were lost when the hub was killed")
	}
	return d.restart()
}

func (d *demo) restart() error {
	fmt.Println("\n   nas# meshd down; meshd up        (with the hub still gone)")
	nas := d.agent("nas")
	if err := nas.Down(d.ctx); err != nil {
		return err
	}
	begun := time.Now()
	if _, err := nas.Up(d.ctx); err != nil {
		return err
	}
	if err := d.agent("laptop").AwaitPing(d.ctx, 5*time.Second, "nas"); err != nil {
		return err
	}
	fmt.Printf("   back, and reached again after %v\n", time.Since(begun).Round(time.Millisecond))

	fmt.Println("\n   hub# meshd coordinator serve     (again)")
	begun = time.Now()
	if err := d.world.Hub.Start(d.ctx); err != nil {
		return err
	}
	if err := d.agent("laptop").AwaitPing(d.ctx, 30*time.Second, "tablet"); err != nil {
		return err
	}
	fmt.Printf("   the tablet, which needs it, is reached again after %v\n", time.Since(begun).Round(time.Millisecond))
	return nil
}

// lookAround says how to enter the hosts of a mesh that is left running.
func (d *demo) lookAround(bin string) {
	fmt.Print("\nThe mesh keeps running until you press Ctrl-C. Look around from another terminal, as root:\n\n")
	fmt.Printf("   %s %s coordinator member list\n", d.world.Hub.Host.Enter(), bin)
	for _, a := range d.world.Agents() {
		fmt.Printf("   %s %s status     # %s\n", a.Host.Enter(), bin, a.Host.Name)
	}
	fmt.Println("\nWith sh in the place of a command there is a shell on that host.")
}

// logs collects what everybody said, for a demo that failed.
func (d *demo) logs() error {
	all := []error{fmt.Errorf("the coordinator said:\n%s", tail(d.world.Hub.Log()))}
	for _, a := range d.world.Agents() {
		all = append(all, fmt.Errorf("%s said:\n%s", a.Host.Name, tail(a.Log())))
	}
	return errors.Join(all...)
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// quote prints what a command said, indented.
func quote(s string) {
	for line := range strings.Lines(strings.TrimSpace(s) + "\n") {
		fmt.Print("      ", line)
	}
}
