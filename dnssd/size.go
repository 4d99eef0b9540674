package dnssd

import (
	"slices"
	"sort"

	"github.com/miekg/dns"
)

// maxUDP is the largest answer by UDP: what passes IPv6's smallest MTU unbroken
// (RFC 9715).
const maxUDP = 1232

// limitUDP is how large an answer by UDP may be: 512 bytes to those that don't
// say otherwise (RFC 6891 §6.2.3).
func limitUDP(opt *dns.OPT) int {
	if opt == nil {
		return dns.MinMsgSize
	}
	return min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
}

// fit packs m, compressed, in at most size bytes. Text in the additional section
// is a courtesy and goes first, which is no truncation (RFC 2181 §9); all else
// that doesn't fit leaves the TC bit behind.
func fit(m *dns.Msg, size int, buf []byte) ([]byte, error) {
	m.Compress = true
	b, err := m.PackBuffer(buf)
	if err != nil || len(b) <= size {
		return b, err
	}
	m.Extra = slices.DeleteFunc(slices.Clone(m.Extra), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeTXT })
	if b, err = m.PackBuffer(buf); err != nil || len(b) <= size {
		return b, err
	}
	return truncate(m, size, buf)
}

// truncate keeps as many answers as fit and says that there are more. What
// comes with answers isn't worth having without them.
func truncate(m *dns.Msg, size int, buf []byte) ([]byte, error) {
	all, opt := m.Answer, m.IsEdns0()
	m.Truncated, m.Ns, m.Extra = true, nil, nil
	if opt != nil {
		m.Extra = []dns.RR{opt}
	}
	more := sort.Search(len(all), func(n int) bool {
		m.Answer = all[:n+1]
		b, err := m.PackBuffer(buf)
		return err != nil || len(b) > size
	})
	m.Answer = all[:more]
	return m.PackBuffer(buf)
}
