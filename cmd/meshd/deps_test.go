package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rule says what a package may not import. A path that ends in /... stands for
// a package and all below it; what is allowed is exempt.
type rule struct {
	pkg          string
	never, allow []string
	reason       string
}

var rules = []rule{
	{"meshd/cmd/meshd", []string{"golang.zx2c4.com/...", "github.com/vishvananda/...", "meshd/punch/...", "meshd/deploy/..."}, nil,
		"commands parse and print; what they would do with a device belongs to a daemon"},
	{"meshd/coordinator", []string{"meshd/...", "golang.zx2c4.com/..."},
		[]string{"meshd/coordinator/api/...", "meshd/punch/stun", "meshd/punch/wire", "meshd/punch/udp", "meshd/punch/relay", "meshd/dnssd"},
		"the hub introduces and relays; it can't be part of what it introduces"},
	{"meshd/coordinator/api", []string{"meshd/..."}, []string{"meshd/coordinator/api/..."},
		"both sides speak the protocol, so it may belong to neither"},
	{"meshd/coordinator/api/apitest", []string{"meshd/..."}, []string{"meshd/coordinator/api/...", "meshd/dnssd"},
		"the twin of the coordinator is for those who are not the coordinator"},
	{"meshd/coordinator/store", []string{"meshd/..."}, []string{"meshd/coordinator"},
		"what is stored is the domain, not what others make of it"},
	{"meshd/agent", []string{"meshd/...", "flag", "golang.zx2c4.com/..."},
		[]string{"meshd/agent/...", "meshd/punch/...", "meshd/coordinator/api/...", "meshd/dnssd/..."},
		"an agent meets the coordinator over the wire only"},
	{"meshd/agent/tunnel", []string{"meshd/..."}, []string{"meshd/agent/tunnel/..."},
		"WireGuard asks for a transport; which one is the agent's choice"},
	{"meshd/agent/tunnel/fastpath", []string{"meshd/..."}, []string{"meshd/agent/tunnel/vnet", "meshd/agent/tunnel/filter"},
		"it stands between the device and its two ends, and is given both"},
	{"meshd/agent/tunnel/filter", []string{"meshd/...", "golang.zx2c4.com/...", "net", "os", "log/slog"}, nil,
		"what may come in is the same whoever brings it"},
	{"meshd/agent/tunnel/tundev", []string{"meshd/...", "golang.zx2c4.com/..."}, []string{"meshd/agent/tunnel/vnet", "golang.zx2c4.com/wireguard/tun"},
		"a TUN device passes frames, whoever ciphers them"},
	{"meshd/agent/tunnel/vnet", []string{"meshd/...", "golang.zx2c4.com/...", "net", "os", "log/slog", "time"}, nil,
		"a codec works on bytes"},
	{"meshd/agent/netcfg", []string{"meshd/..."}, nil,
		"the host's network is configured the same whoever asks"},
	{"meshd/agent/localapi", []string{"meshd/..."}, nil,
		"the command line must be able to ask without being an agent"},
	{"meshd/dnssd", []string{"meshd/..."}, nil,
		"names and records are the same whoever has them"},
	{"meshd/dnssd/mdns", []string{"meshd/..."}, nil,
		"what is heard on a LAN is a hint, and knows of no zone and no member's record"},
	{"meshd/punch", []string{"meshd/...", "golang.zx2c4.com/...", "net/http"}, []string{"meshd/punch/..."},
		"a path is found between two opaque keys: no mesh, no tunnel, no web"},
	{"meshd/punch/wire", []string{"meshd/...", "net", "os", "log/slog"}, nil,
		"a codec works on bytes"},
	{"meshd/punch/stun", []string{"meshd/...", "net", "os", "log/slog"}, nil,
		"a codec works on bytes"},
	{"meshd/punch/udp", []string{"meshd/..."}, nil,
		"datagrams are the same whoever sends them"},
	{"meshd/punch/relay", []string{"meshd/..."}, []string{"meshd/punch/wire", "meshd/punch/stun", "meshd/punch/udp", "meshd/punch/relay/inkernel"},
		"a member may relay as well as the hub"},
	{"meshd/punch/relay/inkernel", []string{"meshd/...", "log/slog"}, nil,
		"the kernel forwards by addresses and eight bytes; what they mean is the relay's business"},
	{"meshd/punch/portmap", []string{"meshd/..."}, nil,
		"a gateway forwards a port for any program"},
	{"meshd/punch/nattest", []string{"meshd/..."}, []string{"meshd/punch/wire"},
		"a simulated internet that knew the engine would flatter it"},
	{"meshd/deploy/lab", []string{"meshd/..."}, []string{"meshd/punch/nattest"},
		"a lab that knew the program would flatter it, too; of NATs it has the words"},
	{"meshd/deploy/lab/guest", []string{"meshd/..."}, nil,
		"a guest runs any program"},
	{"meshd/deploy/lab/mesh", []string{"meshd/..."}, []string{"meshd/deploy/lab", "meshd/agent/localapi"},
		"the lab runs the program as its users do, and reads what it prints"},
	{"meshd/deploy/lab/upnp", []string{"meshd/..."}, []string{"meshd/deploy/lab"},
		"the lab's router is a real one, which has not heard of us"},
}

// only says who alone imports a library.
var only = map[string]string{
	"golang.zx2c4.com/wireguard":    "meshd/agent/tunnel",
	"github.com/google/nftables":    "meshd/agent/tunnel",
	"github.com/spf13/cobra":        "meshd/cmd/meshd",
	"modernc.org/sqlite":            "meshd/coordinator/store",
	"github.com/pion/stun":          "meshd/punch/stun",
	"github.com/miekg/dns":          "meshd/dnssd",
	"github.com/grandcat/zeroconf":  "meshd/dnssd/mdns",
	"github.com/huin/goupnp":        "meshd/punch/portmap",
	"github.com/jackpal/go-nat-pmp": "meshd/punch/portmap",
}

func TestImports(t *testing.T) {
	imports := readImports(t)
	for _, r := range rules {
		known := false
		for _, pkg := range slices.Sorted(maps.Keys(imports)) {
			if !matches(pkg, r.pkg) {
				continue
			}
			known = true
			for _, path := range imports[pkg] {
				if matchesAny(path, r.never) && !matchesAny(path, r.allow) {
					t.Errorf("%s imports %s, but %s", pkg, path, r.reason)
				}
			}
		}
		if !known {
			t.Errorf("no package %s: remove its rule", r.pkg)
		}
	}
	for pkg, paths := range imports {
		for _, path := range paths {
			for library, owner := range only {
				if matches(path, library+"/...") && !matches(pkg, owner+"/...") {
					t.Errorf("%s imports %s, which is for %s to hide", pkg, path, owner)
				}
			}
			if matches(path, "meshd/deploy/...") && !matches(pkg, "meshd/deploy/...") {
				t.Errorf("%s imports %s, but the lab is not part of the product", pkg, path)
			}
		}
	}
}

func matches(path, pattern string) bool {
	root, below := strings.CutSuffix(pattern, "/...")
	return path == root || below && strings.HasPrefix(path, root+"/")
}

func matchesAny(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(path, p) })
}

// readImports returns what each package imports on any system, tests apart.
func readImports(t *testing.T) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil || dir == "." {
			return err
		}
		pkg := "meshd/" + filepath.ToSlash(dir)
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imports[pkg] = append(imports[pkg], strings.Trim(spec.Path.Value, `"`))
		}
		checkExit(t, pkg, path, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return imports
}

// checkExit holds that only programs, and helpers of tests, end the process: a
// library returns.
func checkExit(t *testing.T, pkg, path string, file *ast.File) {
	if matches(pkg, "meshd/cmd/...") || matches(pkg, "meshd/deploy/...") || strings.HasSuffix(pkg, "test") {
		return
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Exit" {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" {
				t.Errorf("%s calls os.Exit, which is main's", path)
			}
		}
		return true
	})
}
