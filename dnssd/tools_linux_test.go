package dnssd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tool runs a real DNS tool (deploy/tools.sh installs them) and returns what it
// prints, on both ends.
func tool(t *testing.T, input, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return strings.ReplaceAll(string(bytes.TrimSpace(out)), nasPeer, "PEER"), err
}

func (h *hub) dig(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tool(t, "", "dig", append([]string{"@" + h.addr.Addr().String(), "-p", fmt.Sprint(h.addr.Port()), "+tries=1", "+timeout=3"}, args...)...)
	if err != nil {
		t.Fatalf("dig %v: %v\n%s", args, err, out)
	}
	return out
}

// nsupdate sends one update of these commands, signed with a key file. It takes
// the padding of a peer's name for a bad host name unless told not to check.
func (h *hub) nsupdate(t *testing.T, key Key, flags []string, commands ...string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key.File()), 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("server %s %d\nzone meshd.internal\ncheck-names no\n%s\nsend\n", h.addr.Addr(), h.addr.Port(), strings.Join(commands, "\n"))
	return tool(t, strings.ReplaceAll(script, "PEER", nasPeer), "nsupdate", append([]string{"-k", file, "-t", "5"}, flags...)...)
}

func TestDig(t *testing.T) {
	h := startHub(t, nas, laptop)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"+short", "nas.meshd.internal", "A"}, "100.96.0.7"},
		{[]string{"+short", "+tcp", "nas.meshd.internal", "AAAA"}, "fd00:1:2::7"},
		{[]string{"+short", "-x", "100.96.0.7"}, "nas.meshd.internal."},
		{[]string{"+short", "-x", "fd00:1:2::7"}, "nas.meshd.internal."},
		{[]string{"+short", strings.ToUpper(nasPeer), "SRV"}, "0 0 41641 " + strings.ToUpper(nasPeer)},
		{[]string{"+short", "+noedns", nasPeer, "SRV"}, "0 0 41641 PEER"},
		{[]string{"+short", "+bufsize=512", nasPeer, "TXT"},
			`"txtvers=1" "pub=AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" "allowed=100.96.0.7/32,192.168.7.0/24" "nat=eim"`},
		{[]string{"+short", `Files\032on\032nas._http._tcp.meshd.internal`, "SRV"}, "0 0 8080 nas.meshd.internal."},
	} {
		if got := h.dig(t, test.args...); got != test.want {
			t.Errorf("dig %v: got %q, want %q", test.args, got, test.want)
		}
	}
	full := h.dig(t, nasPeer, "SRV")
	for _, want := range []string{"status: NOERROR", "flags: qr aa", "ADDITIONAL: 3", "EDNS: version: 0"} {
		if !strings.Contains(full, want) {
			t.Errorf("dig SRV: no %q in\n%s", want, full)
		}
	}
	if strings.Contains(full, "WARNING: Message") {
		t.Errorf("dig finds fault:\n%s", full)
	}
}

func TestDigSigned(t *testing.T) {
	h := startHub(t, nas)
	h.allow(Refuse)
	if got := h.dig(t, "nas.meshd.internal"); !strings.Contains(got, "status: REFUSED") {
		t.Errorf("unsigned: want REFUSED, got\n%s", got)
	}
	key := h.key("nas")
	secret := "hmac-sha256:" + key.Name + ":" + key.Base64()
	if got := h.dig(t, "+short", "-y", secret, "nas.meshd.internal"); got != "100.96.0.7" {
		t.Errorf("signed: got %q, want 100.96.0.7", got)
	}
	wrong := "hmac-sha256:" + key.Name + ":" + h.key("laptop").Base64()
	if got := h.dig(t, "-y", wrong, "nas.meshd.internal"); !strings.Contains(got, "NOTAUTH") || !strings.Contains(got, "BADSIG") {
		t.Errorf("signed with a wrong key: want NOTAUTH and BADSIG, got\n%s", got)
	}
}

// TestNSUpdate writes with a stock tool what an agent would.
func TestNSUpdate(t *testing.T) {
	for _, flags := range [][]string{nil, {"-v"}} { // UDP, TCP
		h := startHub(t, Member{Name: "nas", Key: nas.Key, Addresses: nas.Addresses}, laptop)
		out, err := h.nsupdate(t, h.key("nas"), flags,
			"prereq nxdomain PEER",
			"update add PEER 0 SRV 0 0 41641 PEER",
			"update add PEER 0 A 203.0.113.9",
			`update add PEER 0 TXT "nat=eim"`,
			`update add _cand.PEER 0 TXT "c0=host 192.168.7.2:41641" "c1=reflexive 203.0.113.9:41641"`,
			`update add Files\032on\032nas._http._tcp.meshd.internal. 60 SRV 0 0 8080 nas.meshd.internal.`,
			`update add Files\032on\032nas._http._tcp.meshd.internal. 60 TXT "path=/"`,
			`update add _http._tcp.meshd.internal. 60 PTR Files\032on\032nas._http._tcp.meshd.internal.`)
		if err != nil {
			t.Fatalf("nsupdate %v: %v\n%s", flags, err, out)
		}
		want := Publication{Endpoint: nas.Endpoint, Candidates: nas.Candidates, Text: nas.Text,
			Services: []Service{{Instance: "Files on nas", Type: "_http._tcp", Port: 8080, Text: []string{"path=/"}}}}
		if m, _ := h.Zone.Member("nas"); !m.Publication.Equal(want) {
			t.Errorf("nsupdate %v: got %+v, want %+v", flags, m.Publication, want)
		}
		if got := h.dig(t, "+short", "_http._tcp.meshd.internal", "PTR"); got != `Files\032on\032nas._http._tcp.meshd.internal.` {
			t.Errorf("listed: got %q", got)
		}
	}
}

func TestNSUpdateRejected(t *testing.T) {
	h := startHub(t, nas, laptop)
	move := "update add PEER 0 A 203.0.113.66"
	clear := "update delete PEER A"
	stolen := Key{Name: "nas.meshd.internal.", Secret: h.key("laptop").Secret}
	unknown := Key{Name: "none.meshd.internal."}
	for _, test := range []struct {
		what     string
		key      Key
		commands []string
		want     string
	}{
		{"another's name", h.key("laptop"), []string{clear, move}, "REFUSED"},
		{"a wrong secret", stolen, []string{clear, move}, "BADSIG"},
		{"an unknown key", unknown, []string{clear, move}, "BADKEY"},
		{"a prerequisite that fails", h.key("nas"), []string{"prereq nxdomain PEER", clear, move}, "YXDOMAIN"},
		{"a prerequisite on data", h.key("nas"), []string{"prereq yxrrset PEER A 192.0.2.1", clear, move}, "NXRRSET"},
		{"two endpoints", h.key("nas"), []string{move}, "REFUSED"},
		{"another zone", h.key("nas"), []string{"update add nas.example. 0 A 192.0.2.1"}, "NOTZONE"},
	} {
		out, err := h.nsupdate(t, test.key, nil, test.commands...)
		if err == nil || !strings.Contains(out, test.want) {
			t.Errorf("%s: got %q, %v; want %s", test.what, out, err, test.want)
		}
		if m, _ := h.Zone.Member("nas"); !m.equal(nas) {
			t.Errorf("%s changed the zone: %s", test.what, cmp.Diff(m.Text, nas.Text))
		}
	}
	if out, err := h.nsupdate(t, h.key("nas"), nil, clear, move); err != nil {
		t.Fatalf("a good update after all that: %v\n%s", err, out)
	}
	if got := h.dig(t, "+short", nasPeer, "A"); got != "203.0.113.66" {
		t.Errorf("endpoint: got %q, want 203.0.113.66", got)
	}
}
