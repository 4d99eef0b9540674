package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// providerEnv makes this test binary a DNS server of the internet: its value is
// where it answers.
const providerEnv = "MESHD_TEST_PROVIDER"

var provider = netip.MustParseAddr("203.0.113.53")

// runProvider knows www.example.org, and a text there that takes TCP, and the hub. It
// also knows a nas in the mesh's zone, which nobody ought to ask it for.
func runProvider(at string) int {
	known := map[string]string{"www.example.org.": "192.0.2.80", "nas.meshd.internal.": "192.0.2.80", "hub.example.org.": mesh.HubAddr.String()}
	dns.HandleFunc(".", func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		switch name := q.Question[0].Name; {
		case known[name] == "":
			answer.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeA:
			rr, _ := dns.NewRR(name + " 60 A " + known[name])
			answer.Answer = append(answer.Answer, rr)
		case q.Question[0].Qtype == dns.TypeTXT:
			for i := range 20 {
				rr, _ := dns.NewRR(fmt.Sprintf("%s 60 TXT %d%s", name, i, strings.Repeat("x", 200)))
				answer.Answer = append(answer.Answer, rr)
			}
			if w.LocalAddr().Network() == "udp" {
				answer.Truncate(dns.MinMsgSize)
			}
		}
		w.WriteMsg(answer)
	})
	failed := make(chan error)
	for _, network := range []string{"udp", "tcp"} {
		go func() { failed <- dns.ListenAndServe(at, network, nil) }()
	}
	fmt.Fprintln(os.Stderr, <-failed)
	return 1
}

// provide starts a provider, and returns how to end it.
func provide(t *testing.T, l *lab.Lab) func() {
	t.Helper()
	internet, err := l.Public("provider", lab.Delay{}, provider)
	must(t, err)
	serve := internet.Command(t.Context(), "env", providerEnv+"="+provider.String()+":53", os.Args[0])
	serve.Stderr = t.Output()
	must(t, serve.Start())
	end := sync.OnceFunc(func() {
		serve.Cancel()
		serve.Wait() // it was killed, which is an error
	})
	t.Cleanup(end)
	return end
}

func TestOtherNamesAreHandedOn(t *testing.T) {
	w := world(t)
	end := provide(t, w.Lab)
	laptop := w.Laptop.Host
	must(t, laptop.Shell("echo nameserver "+provider.String()+" > /etc/resolv.conf"))
	awaitDig(t, laptop, "192.0.2.80", "+short", "www.example.org", "A")
	join(t, w, w.Laptop, w.Nas)
	s, err := w.Laptop.Status(t.Context())
	must(t, err)
	p, err := w.Laptop.Peer(t.Context(), "nas")
	must(t, err)
	own := s.Self.Addresses[0].String()

	t.Log("The laptop's programs may ask its meshd for everything: names of the mesh it knows, others the provider is asked for.")
	awaitDig(t, laptop, p.Addresses[0].String(), "@"+own, "+short", "nas.meshd.internal", "A")
	awaitDig(t, laptop, "192.0.2.80", "@"+own, "+short", "www.example.org", "A")
	awaitDig(t, laptop, "192.0.2.80", "@"+s.Self.Addresses[1].String(), "+short", "+tcp", "www.example.org", "A")
	awaitDig(t, laptop, "status: NXDOMAIN", "@"+own, "nobody.example.org", "A")
	awaitDig(t, laptop, "status: NXDOMAIN", "@"+own, "nobody.meshd.internal", "A")
	awaitDig(t, laptop, "ANSWER: 20", "@"+own, "www.example.org", "TXT") // dig asks again by TCP

	t.Log("Its resolver does, as resolvconf would have it.")
	must(t, laptop.Shell(fmt.Sprintf("printf 'nameserver %s\\nnameserver %s\\nsearch meshd.internal\\n' > /etc/resolv.conf", own, provider)))
	for name, want := range map[string]string{"www.example.org": "192.0.2.80", "nas": p.Addresses[0].String()} {
		must(t, mesh.Await(t.Context(), patience, func() error {
			out, err := laptop.Run(t.Context(), "getent", "ahostsv4", name)
			if !strings.HasPrefix(out, want) {
				return fmt.Errorf("%s is %q, %v; want %s", name, out, err, want)
			}
			return nil
		}))
	}

	t.Log("Another member may ask it about the mesh, and about nothing else.")
	awaitDig(t, w.Nas.Host, own, "@"+own, "+short", "laptop.meshd.internal", "A")
	awaitDig(t, w.Nas.Host, "status: REFUSED", "@"+own, "www.example.org", "A")

	t.Log("The provider is gone: that is no answer, and the mesh's names stay.")
	end()
	awaitDig(t, laptop, "status: SERVFAIL", "@"+own, "+time=10", "www.example.org", "A")
	awaitDig(t, laptop, p.Addresses[0].String(), "@"+own, "+short", "nas.meshd.internal", "A")
}
