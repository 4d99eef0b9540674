package coordinator

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"connectrpc.com/connect"

	"meshd/punch/relay"
)

const (
	relayPath = "/relay"

	hintState = "choose another folder by --state, or run as root"
	hintStore = "make room on the disk that holds the coordinator's state folder, then try again"

	defaultControlPort = 443
)

var defaultUDPPorts = []uint16{3478, 3479}

// SocketPath returns where a coordinator with this state folder is spoken with.
func SocketPath(stateDir string) string { return filepath.Join(stateDir, "coordinator.sock") }

// StorePath returns where a coordinator with this state folder keeps its store.
func StorePath(stateDir string) string { return filepath.Join(stateDir, "coordinator.db") }

func identityPath(stateDir string) string { return filepath.Join(stateDir, "identity.key") }

func makeStateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Errorf(connect.CodeInternal, hintState, "make state folder %q: %w", dir, cause(err))
	}
	return nil
}

// bind takes all ports, or none and says which one is not to be had.
func (c *Coordinator) bind(config Config) (err error) {
	if c.control, err = listenControl(config.Listen); err != nil {
		return err
	}
	if c.admin, err = listenAdmin(SocketPath(config.StateDir)); err != nil {
		return err
	}
	udp := config.UDP
	if len(udp) == 0 {
		udp = defaultUDP()
	}
	if onePort(udp) {
		return Errorf(connect.CodeInvalidArgument, "give two, such as --udp :3478,:3479",
			"UDP port %d alone: agents need two to tell how their NATs map", udp[0].Port())
	}
	hears, err := newHandshakes([32]byte(c.hubKey.Bytes()), c.roster, c.observed.heard)
	if err != nil {
		return Errorf(connect.CodeInternal, "", "%w", err)
	}
	c.relay, err = relay.NewServer(relay.ServerConfig{
		UDP: udp, Directory: c.roster, Observed: c.observed.put, Rate: config.RelayRate, Offload: config.RelayOffload, Initiation: hears.hear, Log: c.log, Now: c.now,
	})
	if err != nil {
		return Errorf(connect.CodeFailedPrecondition, "choose other ports by --udp", "%w", err)
	}
	return nil
}

func onePort(addrs []netip.AddrPort) bool {
	return !slices.ContainsFunc(addrs, func(a netip.AddrPort) bool { return a.Port() == 0 || a.Port() != addrs[0].Port() })
}

func listenControl(addr netip.AddrPort) (net.Listener, error) {
	where := addr.String()
	if !addr.IsValid() {
		where = fmt.Sprintf(":%d", defaultControlPort)
	}
	ln, err := net.Listen("tcp", where)
	if err != nil {
		return nil, Errorf(connect.CodeFailedPrecondition, listenHint(err), "listen on TCP %s: %w", where, cause(err))
	}
	return ln, nil
}

func listenHint(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "run as root, or choose a port above 1023 by --listen"
	}
	return "choose another address or port by --listen"
}

// maxSocketPath is what the smallest sun_path (BSD, macOS) holds.
const maxSocketPath = 103

// listenAdmin replaces a socket that a crash left behind: that nobody else serves
// this folder is what the store's lock says.
func listenAdmin(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, Errorf(connect.CodeInvalidArgument, "choose a shorter --state folder",
			"listen on %q: longer than %d bytes, the most for a unix socket", path, maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, Errorf(connect.CodeInternal, hintState, "replace socket %q: %w", path, cause(err))
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, Errorf(connect.CodeInternal, hintState, "listen on %q: %w", path, cause(err))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, Errorf(connect.CodeInternal, hintState, "protect socket %q: %w", path, cause(err))
	}
	return ln, nil
}

// defaultUDP is both families on a machine that has both.
func defaultUDP() []netip.AddrPort {
	hosts := []netip.Addr{netip.IPv4Unspecified()}
	if probe, err := net.ListenPacket("udp6", "[::]:0"); err == nil {
		probe.Close()
		hosts = append(hosts, netip.IPv6Unspecified())
	}
	var addrs []netip.AddrPort
	for _, h := range hosts {
		for _, p := range defaultUDPPorts {
			addrs = append(addrs, netip.AddrPortFrom(h, p))
		}
	}
	return addrs
}

// relayAddrs is what agents are told of the relay's sockets. Where there is one
// address, it is the one by which they reached the hub, whatever NAT stands in
// front: then only the ports are told. Several addresses are told as they are.
func relayAddrs(bound []netip.AddrPort) []string {
	hosts := map[netip.Addr]bool{}
	for _, a := range bound {
		if !a.Addr().IsUnspecified() {
			hosts[a.Addr()] = true
		}
	}
	var told []string
	for _, a := range bound {
		s := fmt.Sprintf(":%d", a.Port())
		if len(hosts) > 1 && !a.Addr().IsUnspecified() {
			s = a.String()
		}
		if !slices.Contains(told, s) {
			told = append(told, s)
		}
	}
	return told
}

// cause strips what our own message says already: the operation and the path.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	if oe := (*net.OpError)(nil); errors.As(err, &oe) {
		return errors.New(strings.TrimPrefix(oe.Err.Error(), "listen tcp: "))
	}
	return err
}
