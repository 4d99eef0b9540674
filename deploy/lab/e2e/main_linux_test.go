package e2e

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// bin is the meshd binary that the stories run.
var bin string

func TestMain(m *testing.M) {
	if at := os.Getenv(wgsdEnv); at != "" {
		os.Exit(runWgsd(at))
	}
	if at := os.Getenv(providerEnv); at != "" {
		os.Exit(runProvider(at))
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "meshd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if bin, err = mesh.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := share(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// long are the stories that take an emulated machine longest. Dealt out in turns, they
// are half of the work for each of two.
var long = []string{
	"TestKernelMTU", "TestKernel", "TestIPv6", "TestMovingBetweenNetworks",
	"TestGatewayRebootsUnderTraffic", "TestKernelMeetsTheFastPath", "TestGatewayMapsThePort", "TestSameAddressesAtHomeAndElsewhere",
}

// share leaves out the stories that another machine tells, where several share them.
func share() error {
	if os.Getenv(mesh.ShareEnv) == "" {
		return nil
	}
	flag.Parse()
	pattern, _, _ := strings.Cut(flag.Lookup("test.run").Value.String(), "/")
	list := exec.Command(os.Args[0], "-test.list", pattern)
	list.Env = append(os.Environ(), mesh.ShareEnv+"=") // it would ask itself
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("list the stories like %q: %w", pattern, err)
	}
	stories := strings.Fields(string(out))
	var skip []string
	if given := flag.Lookup("test.skip").Value.String(); given != "" {
		skipped, err := regexp.Compile(given)
		if err != nil {
			return fmt.Errorf("leave out the stories like %q: %w", given, err)
		}
		stories, skip = slices.DeleteFunc(stories, skipped.MatchString), []string{given}
	}
	turn := func(story string) int {
		if i := slices.Index(long, story); i >= 0 {
			return i
		}
		return len(long)
	}
	slices.SortStableFunc(stories, func(a, b string) int { return turn(a) - turn(b) })
	mine, err := mesh.Share(stories)
	if err != nil {
		return err
	}
	for _, s := range stories {
		if !slices.Contains(mine, s) {
			skip = append(skip, "^"+s+"$")
		}
	}
	return flag.Set("test.skip", strings.Join(skip, "|"))
}

// patience is how long a story waits for what must happen: longer on an emulated
// machine, the one that can't build meshd.
var patience = 15 * time.Second

func init() {
	if os.Getenv(mesh.PrebuiltEnv) != "" {
		patience *= 4
	}
}

// world is a running hub and the world's hosts, none of them a member yet.
func world(t *testing.T) *mesh.World {
	t.Helper()
	w, err := mesh.NewWorld(bin, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the coordinator said:\n%s", w.Hub.Log())
			for _, a := range w.Agents() {
				t.Logf("%s said:\n%s", a.Host.Name, a.Log())
			}
		}
		w.Close()
	})
	if err := w.Hub.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// join makes a host an approved member.
func join(t *testing.T, w *mesh.World, agents ...*mesh.Agent) {
	t.Helper()
	for _, a := range agents {
		if _, err := a.Up(t.Context(), key(t, w, "--approved")); err != nil {
			t.Fatalf("%s: %v", a.Host.Name, err)
		}
	}
}

func key(t *testing.T, w *mesh.World, flags ...string) string {
	t.Helper()
	k, err := w.Hub.Join(t.Context(), flags...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// passed counts what the core carried between two addresses, both ways, while f ran.
func passed(t *testing.T, l *lab.Lab, a, b netip.Addr, f func()) uint64 {
	t.Helper()
	flow := lab.Flow{From: a, To: b}
	before, err := l.Flows()
	must(t, err)
	f()
	after, err := l.Flows()
	must(t, err)
	sum := func(m map[lab.Flow]lab.Count) uint64 { return m[flow].Bytes + m[flow.Reverse()].Bytes }
	return sum(after) - sum(before)
}

// push sends n bytes from one member to another through the mesh, by TCP.
func push(t *testing.T, from, to *mesh.Agent, n int) {
	t.Helper()
	addr, err := from.Address(t.Context(), to.Host.Name)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	sink := to.Host.Command(ctx, "sh", "-c", "socat -u TCP-LISTEN:9000,reuseaddr - | wc -c")
	got := make(chan string, 1)
	go func() {
		out, _ := sink.Output()
		got <- string(out)
	}()
	script := fmt.Sprintf("head -c %d /dev/zero | socat -u - TCP:%s:9000,retry=40,interval=0.05", n, addr)
	if _, err := from.Host.Run(ctx, "sh", "-c", script); err != nil {
		t.Fatalf("send from %s to %s: %v", from.Host.Name, to.Host.Name, err)
	}
	if count := <-got; count != fmt.Sprintf("%d\n", n) {
		t.Fatalf("%s received %q bytes of %d", to.Host.Name, count, n)
	}
}
