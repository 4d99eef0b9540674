package fastpath

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"golang.zx2c4.com/wireguard/device"
)

// reviewed is the version of wireguard-go that this package was read against: the
// fields of borrow.go and what they mean, the functions of timers.go and their
// order of calls in device/send.go and device/receive.go. After a change of the
// module compare these, and only then this.
const reviewed = "v0.0.0-20260522210424-ecfc5a8d5446"

func TestModuleIsTheReviewedOne(t *testing.T) {
	mod, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^\s*golang\.zx2c4\.com/wireguard (\S+)`).FindSubmatch(mod)
	if m == nil || string(m[1]) != reviewed {
		t.Errorf("wireguard-go is %q, reviewed was %s", m, reviewed)
	}
	if strings.Contains(string(mod), "golang.zx2c4.com/wireguard =>") {
		t.Error("wireguard-go is replaced by something that was not reviewed")
	}
}

func TestLayout(t *testing.T) {
	if _, err := readLayout(); err != nil {
		t.Errorf("the fast path would stay off: %v", err)
	}
}

// What is read through the layout is what the device holds.
func TestBorrowed(t *testing.T) {
	a, b := newPair(t, true, false)
	a.pass(packet4(a, b, 1))
	if got := *a.from.key(a.peer()); got != b.key {
		t.Errorf("key of the peer: %x, want %x", got, b.key)
	}
	if got := a.from.owner(b.addr4.AsSlice()); got != a.peer() {
		t.Errorf("owner of %v: %v", b.addr4, got)
	}
	if got := a.from.owner(a.addr6.AsSlice()); got != nil {
		t.Errorf("owner of %v: %v", a.addr6, got)
	}
	if got := a.from.interfaceMTU(); got != testMTU {
		t.Errorf("MTU %d, want %d", got, testMTU)
	}
	peer, keypair := b.from.lookup(a.from.remoteIndex(a.keypair()))
	if peer != b.peer() || keypair != b.keypair() {
		t.Errorf("index names keypair %p of %v, want %p", keypair, peer, b.keypair())
	}
}

func TestOffset(t *testing.T) {
	type inner struct{ b, c uint32 }
	type outer struct {
		a uint64
		inner
		in inner
	}
	in := reflect.TypeFor[outer]()
	for _, test := range []struct {
		path string
		want reflect.Type
		off  uintptr
		err  string
	}{
		{"in.c", reflect.TypeFor[uint32](), 20, ""},
		{"a", reflect.TypeFor[uint64](), 0, ""},
		{"a", reflect.TypeFor[int64](), 0, "field a of fastpath.outer is a uint64 instead of a int64"},
		{"d", reflect.TypeFor[uint64](), 0, "fastpath.outer has no field d"},
		{"c", reflect.TypeFor[uint32](), 0, "fastpath.outer has no field c"},
		{"a.b", reflect.TypeFor[uint64](), 0, "fastpath.outer has no a.b: uint64 is no struct"},
	} {
		off, err := offset(in, test.path, test.want)
		if off != test.off || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%s: got %d, %v, want %d, %s", test.path, off, err, test.off, test.err)
		}
	}
	if _, err := offset(reflect.TypeFor[device.Keypair](), "noSuchField", in); err == nil {
		t.Error("a missing field was found")
	}
}
