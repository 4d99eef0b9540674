package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Lab is one internet. It is built and used by one goroutine.
type Lab struct {
	dir   string // hosts' folders
	core  *Host
	hosts []*Host
	links []*Link
	next  int // numbers interfaces in the core
}

// coreAddr and coreAddr6 are the addresses of the core's end of every link, so
// that gateways have someone to send to; farAddr6 is that of the other end.
const (
	coreAddr  = "192.0.2.1"
	coreAddr6 = "fe80::1"
	farAddr6  = "fe80::2"
)

// New makes the core. The caller must call Close.
func New() (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("make a lab: not root: network namespaces need it")
	}
	dir, err := os.MkdirTemp("", "meshd-lab-")
	if err != nil {
		return nil, fmt.Errorf("make a lab: %w", err)
	}
	l := &Lab{dir: dir}
	if l.core, err = l.boot("core"); err != nil {
		l.Close()
		return nil, err
	}
	if err := l.core.Forward(coreRules); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// coreRules count every forwarded flow and drop those that were cut.
const coreRules = `
table ip core {
	set flows { type ipv4_addr . inet_proto . ipv4_addr; flags dynamic; counter; size 4096; }
	set cut { type ipv4_addr . ipv4_addr; }
	chain forward {
		type filter hook forward priority 0;
		ip saddr . ip daddr @cut drop
		update @flows { ip saddr . ip protocol . ip daddr }
	}
}
table ip6 core {
	set flows { type ipv6_addr . inet_proto . ipv6_addr; flags dynamic; counter; size 4096; }
	set cut { type ipv6_addr . ipv6_addr; }
	chain forward {
		type filter hook forward priority 0;
		ip6 saddr . ip6 daddr @cut drop
		update @flows { ip6 saddr . ip6 nexthdr . ip6 daddr }
	}
}`

// Close kills every process of the lab and removes its folders.
func (l *Lab) Close() error {
	for _, h := range l.hosts {
		h.kill()
	}
	for _, link := range l.links {
		link.close()
	}
	return os.RemoveAll(l.dir)
}

// Host is one machine of the lab: a set of namespaces with a process that holds
// them open.
type Host struct {
	Name string
	lab  *Lab
	init *exec.Cmd // waits on its standard input for us to end
	hold *os.File  // our end of that input
	pid  string    // of the first process inside
	wan  *Link     // to the core; nil for a host behind a gateway
	site *Site     // nil for a public host
}

// ownFolders gives a host folders of its own in place of the machine's. Its /etc
// is what the machine's is, until the host changes it, but names no DNS server: by
// an overlay, or by a copy where there can be none.
const ownFolders = `
set -e
mkdir -p "$1/etc" "$1/work" "$1/run" "$1/var/lib"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" /etc 2>/dev/null ||
	{ cp -a /etc/. "$1/etc"; mount --bind "$1/etc" /etc; }
rm -f /etc/resolv.conf
: > /etc/resolv.conf
for d in run var/lib; do mount --bind "$1/$d" "/$d"; done
echo "$2" > /proc/sys/kernel/hostname
ip link set lo up
echo ready
exec cat`

// boot starts the namespaces of a host that has no link yet.
func (l *Lab) boot(name string) (*Host, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", name, err)
	}
	defer r.Close()
	folder := filepath.Join(l.dir, name)
	init := exec.Command("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
		"sh", "-c", ownFolders, "sh", folder, name)
	init.Stdin = r
	init.Stderr = os.Stderr
	out, err := init.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", name, err)
	}
	if err := init.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("boot %s: %w", name, err)
	}
	h := &Host{Name: name, lab: l, init: init, hold: w}
	l.hosts = append(l.hosts, h)
	if _, err := out.Read(make([]byte, 16)); err != nil {
		return nil, fmt.Errorf("boot %s: its first process ended: %v", name, err)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", init.Process.Pid))
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", name, err)
	}
	h.pid = strings.TrimSpace(string(children))
	return h, nil
}

func (h *Host) kill() {
	h.hold.Close()
	h.init.Process.Kill() // and by --kill-child everything inside
	h.init.Wait()
}

// Command makes a command that runs inside the host when started, and is killed
// when the context ends: the whole process group, since nsenter waits for the
// one that entered. It is a session of its own, as Linux may share processor time
// out by sessions (sched_autogroup_enabled): what runs on one host must not count
// against what runs on another.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append(h.enter(), append([]string{"--", name}, args...)...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

func (h *Host) enter() []string {
	return []string{"-t", h.pid, "--net", "--mount", "--uts", "--pid"}
}

// Enter is the shell command by which a person runs things inside the host.
func (h *Host) Enter() string { return "nsenter " + strings.Join(h.enter(), " ") }

// Folder is where the host's own /run and /var/lib are, seen from outside.
func (h *Host) Folder() string { return filepath.Join(h.lab.dir, h.Name) }

// Run runs a command inside the host and returns its standard output. A failure
// carries what the command said.
func (h *Host) Run(ctx context.Context, name string, args ...string) (string, error) {
	return run(h.Command(ctx, name, args...), "")
}

// Shell runs a script inside the host.
func (h *Host) Shell(script string) error {
	_, err := run(h.Command(context.Background(), "sh", "-e"), script)
	return err
}

// Process finds a process inside the host by the name of its program, and
// returns its number outside.
func (h *Host) Process(name string) (int, error) {
	inside, err := os.Readlink("/proc/" + h.pid + "/ns/pid")
	if err != nil {
		return 0, fmt.Errorf("find %s on %s: %w", name, h.Name, err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, fmt.Errorf("find %s on %s: %w", name, h.Name, err)
	}
	for _, dir := range dirs {
		comm, _ := os.ReadFile(dir + "/comm") // gone by now: not the one
		ns, _ := os.Readlink(dir + "/ns/pid")
		_, dead := os.Readlink(dir + "/exe") // of one that nobody has waited for yet
		if ns == inside && dead == nil && strings.TrimSpace(string(comm)) == name {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, fmt.Errorf("find %s on %s: no such process", name, h.Name)
}

// Forward makes the host a router with these nftables rules.
func (h *Host) Forward(rules string) error {
	if err := h.sysctl("1", "ipv4/ip_forward", "ipv6/conf/all/forwarding"); err != nil {
		return err
	}
	_, err := run(h.Command(context.Background(), "nft", "-f", "-"), rules)
	return err
}

func run(cmd *exec.Cmd, stdin string) (string, error) {
	var out, errs strings.Builder
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[min(6, len(cmd.Args)-1):], " "), err, strings.TrimSpace(errs.String()+" "+out.String()))
	}
	return out.String(), nil
}

// Public adds a host with public addresses of its own.
func (l *Lab) Public(name string, delay Delay, addrs ...netip.Addr) (*Host, error) {
	h, err := l.boot(name)
	if err != nil {
		return nil, err
	}
	h.wan, err = l.attach(h, delay, nil, addrs...)
	return h, err
}

// Host finds a host by its name; it panics for one that was never made.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.hosts {
		if h.Name == name {
			return h
		}
	}
	panic("no host " + name + " in this lab")
}
