package dnssd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"net/netip"

	"github.com/miekg/dns"
)

// exchange is one message on its way to an answer.
type exchange struct {
	msg    *dns.Msg
	src    netip.AddrPort // zero: by the control connection
	member string         // known by the control connection; empty: by plain DNS
	udp    bool
	sigErr error // of verifying the signature, if there is one

	sig    *dns.TSIG
	key    string // member that signed
	access Access
	limit  int // bytes of the answer
	reply  *dns.Msg
	code   uint16 // TSIG error of the answer
}

// Exchange answers a DNS message (application/dns-message, RFC 8484) that a
// member sent over its control connection. It may see everything; an update must
// be signed with its own key nevertheless. An error says that the body is no
// DNS request.
func (s *Server) Exchange(ctx context.Context, member string, message []byte) ([]byte, error) {
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		return nil, fmt.Errorf("parse DNS message: %w", err)
	}
	if m.Response {
		return nil, errors.New("DNS message is an answer, not a question")
	}
	x := &exchange{msg: m, member: strings.ToLower(member)}
	if sig, _ := signature(m); sig != nil {
		x.sigErr = verify(message, s.secrets, "")
	}
	if data := s.answer(ctx, x, nil); data != nil {
		return data, nil
	}
	return nil, errors.New("answer doesn't fit into a DNS message")
}

// answer returns the answer in wire format, in buf if it is large enough; nil:
// there is none.
func (s *Server) answer(ctx context.Context, x *exchange, buf []byte) []byte {
	x.reply = new(dns.Msg)
	x.reply.SetReply(x.msg)
	s.identify(x)
	x.access = Full
	if x.member == "" {
		x.access = s.Access(x.src, x.key, x.key != "")
	}
	x.limit = dns.MaxMsgSize
	if x.udp {
		x.limit = limitUDP(x.msg.IsEdns0())
		if x.access != Full {
			x.limit = dns.MinMsgSize
		}
	}
	if x.reply.Rcode == dns.RcodeSuccess {
		if data := s.forward(ctx, x); data != nil {
			return data
		}
		s.serve(ctx, x)
	}
	return s.finish(x, buf)
}

// identify finds who signed, or why nobody did (RFC 8945 §5.2).
func (s *Server) identify(x *exchange) {
	sig, err := signature(x.msg)
	switch {
	case err != nil:
		x.reply.Rcode = dns.RcodeFormatError
	case sig == nil:
	case x.sigErr != nil:
		x.sig, x.code = sig, tsigError(sig, x.sigErr)
		x.reply.Rcode = dns.RcodeNotAuth
	default:
		x.sig = sig
		x.key, _ = s.Zone.memberOf(sig.Hdr.Name)
	}
}

// serve does what the message asks for.
func (s *Server) serve(ctx context.Context, x *exchange) {
	opt := x.msg.IsEdns0()
	switch {
	case opt != nil && opt.Version() != 0:
		x.reply.Rcode = dns.RcodeBadVers
	case x.msg.Opcode == dns.OpcodeUpdate:
		x.reply.Rcode, x.code = s.update(ctx, x)
	case x.msg.Opcode != dns.OpcodeQuery:
		x.reply.Rcode = dns.RcodeNotImplemented
	case len(x.msg.Question) != 1:
		x.reply.Rcode = dns.RcodeFormatError
	case x.access == Refuse:
		x.reply.Rcode = dns.RcodeRefused
	default:
		member := s.Zone.answer(x.reply, x.access, x.limit)
		if member != "" && s.Asked != nil && x.msg.Question[0].Qtype == dns.TypeSRV {
			s.Asked(x.src, cmp.Or(x.key, x.member), member)
		}
	}
}

// update decides on an update and publishes it. Only a member that signed with
// its own key may. The control connection can't be recorded, plain DNS can.
func (s *Server) update(ctx context.Context, x *exchange) (rcode int, code uint16) {
	if s.Publish == nil || x.key == "" || x.member != "" && x.member != x.key {
		return dns.RcodeRefused, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	past := s.replays[x.key]
	if past == nil {
		past = new(replay)
	}
	signed := time.Unix(int64(x.sig.TimeSigned), 0)
	if x.member == "" && !past.fresh(signed, x.sig.MAC) {
		return dns.RcodeNotAuth, dns.RcodeBadTime
	}
	p, rcode := s.Zone.update(x.msg, x.key)
	if rcode != dns.RcodeSuccess {
		s.Log.Info("DNS update rejected", "peer", x.key, "addr", x.src, "reason", dns.RcodeToString[rcode])
		return rcode, 0
	}
	switch err := s.Publish(ctx, x.key, p); {
	case errors.Is(err, ErrRefused):
		s.Log.Info("DNS update rejected", "peer", x.key, "addr", x.src, "err", err)
		return dns.RcodeRefused, 0
	case err != nil:
		s.Log.Warn("DNS update not stored", "peer", x.key, "err", err)
		return dns.RcodeServerFailure, 0
	}
	if x.member == "" {
		past.note(signed, x.sig.MAC)
		s.replays[x.key] = past
	}
	return dns.RcodeSuccess, 0
}

// forward passes on a friend's question that is not about the zone; nil: it is
// ours to answer, if only by a refusal. Signed questions are: their answers
// would have to be signed too.
func (s *Server) forward(ctx context.Context, x *exchange) []byte {
	if s.Forward == nil || x.access != Full || s.Forwards != nil && !s.Forwards(x.src.Addr()) || x.sig != nil || x.msg.Opcode != dns.OpcodeQuery ||
		len(x.msg.Question) != 1 || s.Zone.apex(canonical(x.msg.Question[0].Name)) != "" {
		return nil
	}
	query, err := x.msg.Pack()
	if err == nil {
		query, err = s.Forward(ctx, query, !x.udp)
	}
	if err != nil {
		s.Log.Debug("DNS question not forwarded", "reason", x.msg.Question[0].Name, "err", err)
		failed := new(dns.Msg)
		query, _ = failed.SetRcode(x.msg, dns.RcodeServerFailure).Pack()
	}
	return query
}

// finish packs the answer: size, EDNS, signature.
func (s *Server) finish(x *exchange, buf []byte) []byte {
	var sig *dns.TSIG
	if x.sig != nil {
		sig = answerTSIG(x.sig, x.code, time.Now())
		x.limit -= lenTSIG(sig)
	}
	if x.msg.IsEdns0() != nil {
		x.reply.SetEdns0(maxUDP, false)
	}
	data, err := fit(x.reply, x.limit, buf)
	if err == nil && sig != nil {
		x.reply.Extra = append(x.reply.Extra, sig)
		data, _, err = dns.TsigGenerateWithProvider(x.reply, keys(s.secrets), x.sig.MAC, false)
	}
	if err != nil {
		s.Log.Warn("no answer to a DNS message", "addr", x.src, "err", err)
		return nil
	}
	return data
}

// secrets finds the secret of a key by its name.
func (s *Server) secrets(keyName string) ([]byte, bool) {
	member, ok := s.Zone.memberOf(keyName)
	if !ok || s.Secret == nil {
		return nil, false
	}
	return s.Secret(member)
}
