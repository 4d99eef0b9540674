package agent

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"meshd/agent/localapi"
	"meshd/coordinator/api"
	"meshd/dnssd"
)

// stateVersion is the layout of the state folder. It is raised when an older
// meshd would misread what a newer one wrote.
const stateVersion = 1

// Files of the state folder. All of them are 0600.
const (
	identityFile  = "identity.key"  // Ed25519, PEM
	wireguardFile = "wireguard.key" // Curve25519, base64
	stateFile     = "state.json"    // precious: without it the machine has to join again
	mapFile       = "map.json"      // a copy: the coordinator sends it again
	lockFile      = "lock"          // held while a daemon runs, with its pid inside
)

// state is what an agent must not forget. It changes seldom.
type state struct {
	Version int  `json:"version"`
	Hub     *hub `json:"hub,omitempty"` // nil: never joined
	// Removed is set when the hub said that this machine is no member any more.
	Removed bool `json:"removed,omitempty"`
	// Pending is set while the owner's approval is missing.
	Pending bool `json:"pending,omitempty"`
	// Key is the WireGuard key that the hub knows.
	Key Key `json:"wireguard_public_key"`
	// Port is the UDP port of last time; 0: there was none.
	Port uint16 `json:"port"`
	// PortMapping is what was last asked for; "" and "auto" are the same.
	PortMapping string `json:"port_mapping,omitempty"`
	// DNS is what was last asked for; "" and "auto" are the same.
	DNS string `json:"dns,omitempty"`
	// MDNS is what was last asked for; "" and "auto" are the same.
	MDNS string `json:"mdns,omitempty"`
	// Advertise are the endpoints that the owner forwards.
	Advertise []netip.AddrPort `json:"advertise,omitempty"`
	// Relay and UseRelays are what was last asked for; "" is auto, and on.
	Relay     string `json:"relay,omitempty"`
	UseRelays string `json:"use_relays,omitempty"`
	// SearchRate and Metered are what was last asked for; "" is the default rate,
	// and auto.
	SearchRate string `json:"search_rate,omitempty"`
	Metered    string `json:"metered,omitempty"`
	// FWMark is what was last asked for; "" and "off" are the same.
	FWMark string `json:"fwmark,omitempty"`
	// Inbound is what was last asked for, as filter.Parse reads it; "" and "all" are
	// the same.
	Inbound string `json:"inbound,omitempty"`
	// Services are what this host announces, and Published what the hub may have.
	Services  []dnssd.Service `json:"services,omitempty"`
	Published []dnssd.Service `json:"published,omitempty"`
	// Republish are the types of services of the LAN that the mesh is shown.
	Republish []string `json:"republish,omitempty"`
	// ClockOffset is the hub's time minus this host's, so that a wrong clock
	// does no harm when the hub is away.
	ClockOffset time.Duration `json:"clock_offset_ns"`
}

// hub is the coordinator that was joined.
type hub struct {
	Hosts []string `json:"hosts"`
	Port  uint16   `json:"port"`
	Pin   api.Pin  `json:"pin"`
}

// String names the coordinator by its address and fingerprint.
func (h hub) String() string {
	return fmt.Sprintf("%s (%s)", net.JoinHostPort(h.Hosts[0], strconv.Itoa(int(h.Port))), h.Pin)
}

// same reports whether both are one coordinator, reached the same way.
func (h *hub) same(o *hub) bool {
	return h.Pin == o.Pin && h.Port == o.Port && slices.Equal(h.Hosts, o.Hosts)
}

// savedMap is the last map, and what was learnt of its relays.
type savedMap struct {
	Version int              `json:"version"`
	Map     *Netmap          `json:"map"`
	Relays  []netip.AddrPort `json:"relays"` // addresses of the hub's names, as last resolved
}

// folder is the state on disk, used by one daemon at a time.
type folder struct{ path string }

// openFolder makes the folder if need be. It is for root's eyes only.
func openFolder(path string) (folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return folder{}, localapi.WithHint(fmt.Errorf("make state folder %q: %w", path, cause(err)), hintFolder)
	}
	return folder{path}, nil
}

func (f folder) file(name string) string { return filepath.Join(f.path, name) }

// load reads the state; a folder without one is a first start.
func (f folder) load() (state, error) {
	path := f.file(stateFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state{Version: stateVersion}, nil
	}
	if err != nil {
		return state{}, unwritable("read state", path, err)
	}
	var s state
	if err := decode(text, &s, &s.Version); err != nil {
		return state{}, fmt.Errorf("read state %q: %w", path, err)
	}
	return s, nil
}

func (f folder) save(s state) error { return f.write(stateFile, s) }

// loadMap reads the last map; nil if there is none that can be used, with the
// reason why if that is worth a word.
func (f folder) loadMap() (*savedMap, error) {
	path := f.file(mapFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read map %q: %v", path, cause(err))
	}
	var m savedMap
	if err := decode(text, &m, &m.Version); err != nil {
		return nil, fmt.Errorf("read map %q: %v", path, err)
	}
	if m.Map == nil {
		return nil, fmt.Errorf("read map %q: it is empty", path)
	}
	if err := m.Map.check(); err != nil {
		return nil, fmt.Errorf("read map %q: %v", path, err)
	}
	return &m, nil
}

func (f folder) saveMap(m savedMap) error { return f.write(mapFile, m) }

// dropMap forgets the map of a mesh that this machine is no member of.
func (f folder) dropMap() error {
	err := os.Remove(f.file(mapFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f folder) write(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return fmt.Errorf("encode %s: %v", name, err)
	}
	if err := writeFile(f.file(name), append(text, '\n')); err != nil {
		return unwritable("write", f.file(name), err)
	}
	return nil
}

// key reads the WireGuard key, or makes it at the first start.
func (f folder) key() (privateKey, error) {
	path := f.file(wireguardFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		k := newPrivateKey()
		text := base64.StdEncoding.EncodeToString(k.bytes[:]) + "\n"
		if err := writeFile(path, []byte(text)); err != nil {
			return k, unwritable("write key", path, err)
		}
		return k, nil
	}
	if err != nil {
		return privateKey{}, unwritable("read key", path, err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != 32 {
		return privateKey{}, localapi.WithHint(fmt.Errorf("read key %q: it holds no WireGuard key", path),
			"put it back from a backup; or delete it: a new key is made, and told to the coordinator by `meshd up JOIN`")
	}
	return privateKey{[32]byte(raw)}, nil
}

// identity reads the identity, or makes it at the first start.
func (f folder) identity() (*api.Identity, error) {
	id, err := api.LoadOrCreateIdentity(f.file(identityFile))
	if errors.Is(err, fs.ErrPermission) {
		return nil, localapi.WithHint(err, hintFolder)
	}
	return id, err
}

// decode reads text into v once its version, which v holds at *version, is known
// to be one that this meshd can read.
func decode(text []byte, v any, version *int) error {
	var head struct{ Version int }
	if err := json.Unmarshal(text, &head); err != nil {
		return localapi.WithHint(fmt.Errorf("it is damaged: %v", err), "put it back from a backup, or move it away and join again")
	}
	if head.Version > stateVersion {
		return localapi.WithHint(
			fmt.Errorf("a newer meshd wrote it (version %d, this one knows %d)", head.Version, stateVersion),
			"install the newer meshd again")
	}
	if err := json.Unmarshal(text, v); err != nil {
		return localapi.WithHint(fmt.Errorf("it is damaged: %v", err), "put it back from a backup, or move it away and join again")
	}
	*version = stateVersion
	return nil
}

const hintFolder = "run meshd as root, or name a folder that it may write with --state DIR"

func unwritable(attempt, path string, err error) error {
	err = fmt.Errorf("%s %q: %w", attempt, path, cause(err))
	if errors.Is(err, fs.ErrPermission) {
		return localapi.WithHint(err, hintFolder)
	}
	return err
}

// cause strips the path, which our own sentences name already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}

// writeFile puts text at path so that a crash or a full disk leaves either the
// old file or the new one, whole.
func writeFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails, rightly, once renamed
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the rename itself last.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
