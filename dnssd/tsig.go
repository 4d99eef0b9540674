package dnssd

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// fudge is how far clocks may be apart, in seconds (RFC 8945 §10).
const fudge = 300

// keys signs and verifies for those whose secret it finds, by hmac-sha256 alone.
// It is a [dns.TsigProvider].
type keys func(keyName string) (secret []byte, ok bool)

func (k keys) Generate(msg []byte, t *dns.TSIG) ([]byte, error) {
	if canonical(t.Algorithm) != dns.HmacSHA256 {
		return nil, dns.ErrKeyAlg
	}
	secret, ok := k(canonical(t.Hdr.Name))
	if !ok {
		return nil, dns.ErrSecret
	}
	h := hmac.New(sha256.New, secret)
	h.Write(msg)
	return h.Sum(nil), nil
}

func (k keys) Verify(msg []byte, t *dns.TSIG) error {
	want, err := k.Generate(msg, t)
	if err != nil {
		return err
	}
	got, err := hex.DecodeString(t.MAC)
	if err != nil || !hmac.Equal(got, want) {
		return dns.ErrSig
	}
	return nil
}

// signature returns the TSIG record of a message, nil if it isn't signed. More
// than one, one that isn't last, or one of impossible form is an error
// (RFC 8945 §5.1, §5.2.2.1), whoever signed.
func signature(m *dns.Msg) (*dns.TSIG, error) {
	var t *dns.TSIG
	for i, rr := range m.Extra {
		if rr.Header().Rrtype != dns.TypeTSIG {
			continue
		}
		sig, ok := rr.(*dns.TSIG)
		if !ok || i != len(m.Extra)-1 || sig.Hdr.Class != dns.ClassANY || sig.Hdr.Ttl != 0 {
			return nil, errors.New("TSIG is not the last record, or not one")
		}
		if n := len(sig.MAC) / 2; n > sha256.Size || n < sha256.Size/2 {
			return nil, fmt.Errorf("TSIG has a MAC of %d bytes", n)
		}
		t = sig
	}
	return t, nil
}

// tsigError is the error code of a signature that failed to verify.
func tsigError(t *dns.TSIG, err error) uint16 {
	switch {
	case errors.Is(err, dns.ErrSecret), errors.Is(err, dns.ErrKeyAlg):
		return dns.RcodeBadKey
	case errors.Is(err, dns.ErrTime):
		return dns.RcodeBadTime
	case len(t.MAC)/2 < sha256.Size:
		return dns.RcodeBadTrunc
	}
	return dns.RcodeBadSig
}

// answerTSIG is the unsigned TSIG record of the answer to a request signed by t.
// With BADTIME goes the time here, under the time there (RFC 8945 §5.2.3).
func answerTSIG(t *dns.TSIG, code uint16, now time.Time) *dns.TSIG {
	a := &dns.TSIG{
		Hdr:       dns.RR_Header{Name: t.Hdr.Name, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: t.Algorithm, TimeSigned: uint64(now.Unix()), Fudge: fudge, OrigId: t.OrigId, Error: code,
	}
	if code == dns.RcodeBadTime {
		a.TimeSigned = t.TimeSigned
		a.OtherLen, a.OtherData = 6, fmt.Sprintf("%012x", uint64(now.Unix())&(1<<48-1))
	}
	return a
}

// lenTSIG is how many bytes a TSIG record adds to a message, its MAC included.
func lenTSIG(t *dns.TSIG) int { return dns.Len(t) + sha256.Size }

// memberOf is the member whose key has this name.
func (z *Zone) memberOf(keyName string) (string, bool) {
	member, ok := strings.CutSuffix(canonical(keyName), "."+z.name)
	return member, ok && checkHost(member) == nil
}

// verify checks the signature of a message; mac is the request's if it is an
// answer. The message is left as it is.
func verify(message []byte, k keys, mac string) error {
	return dns.TsigVerifyWithProvider(append([]byte(nil), message...), k, mac, false)
}
