package punch

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"time"

	"meshd/punch/stun"
)

// asking is when a STUN server is asked until it answers.
var asking = [...]time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, time.Second}

// answerTime is how long the last question of a survey may take, at least.
const answerTime = time.Second

// maxServers bounds whom a survey asks.
const maxServers = 8

// samplePorts is how many fresh sockets show how a NAT picks ports.
const samplePorts = 12

// lifetimes are the ages at which mappings are looked at: around the patience
// of common NATs, which is 30 s, 1, 2, 3 and 5 minutes.
var lifetimes = [...]time.Duration{
	15 * time.Second, 25 * time.Second, 45 * time.Second, 75 * time.Second,
	110 * time.Second, 150 * time.Second, 200 * time.Second, 330 * time.Second,
}

// Sockets of a survey, by what they are for.
const (
	mapSocket    = 0
	filterSocket = 1 // sends to one server alone; where that fails, a spare one takes its place
	sampleSocket = 2 // the first of samplePorts
	lifeSocket   = sampleSocket + samplePorts
	spareSocket  = lifeSocket + len(lifetimes)
)

// survey finds out how the NATs in front of this host behave, towards servers of
// one IP version (RFC 5780 §4). It has no socket and no clock: due says what to
// send from which of its sockets, take what came.
//
//	socket 0      ─ Binding ─► every server                          mapping, §4.3
//	socket 1      ─ Inquiry ─► one server; then: answer from your
//	                           other port! from your other address!  filtering, §4.4;
//	                           what its door alone hears a firewall here has dropped
//	0 and 1       ─ Binding ─► each other's public addresses         hairpinning, §4.5
//	sockets 2…13  ─ Binding ─► one server, if mapping depends        allocation
//	one an age    ─ Binding ─► one server; at that age another
//	                           socket has it answered there          lifetime, §4.6
type survey struct {
	wish      surveyWish
	servers   []netip.AddrPort
	questions []*question
	reference *question      // the first Inquiry that was answered
	tested    bool           // filtering is asked for
	ports     map[int]uint16 // local ones, by socket
}

// surveyWish is what to find out besides mapping and filtering. Ports are sampled
// unasked where mapping depends on destinations.
type surveyWish struct{ ports, hairpin, lifetime bool }

// purpose is what a question is to show.
type purpose uint8

const (
	toMap       purpose = iota
	toInquire           // does the server know CHANGE-REQUEST?
	toFilter            // does an answer from its other port come in?
	toFilterAll         // from its other address?
	toSample
	toHairpin
	toLast // of a mapping that is then left alone
	toLive // does it still exist?
)

// outcome is what became of a question.
type outcome uint8

const (
	waiting outcome = iota
	answered
	refused
	silent
)

// question is one transaction of a survey.
type question struct {
	purpose purpose
	socket  int // that asks
	hears   int // that gets the answer
	to      netip.AddrPort
	port    uint16 // toLive: the port to answer to
	id      stun.TxID
	at      time.Time // of the first try
	tries   int
	sent    [len(asking)]time.Time

	outcome outcome
	from    netip.AddrPort // where the answer came from
	door    netip.AddrPort // the same of one that came by the door; zero: none did
	barred  bool           // it came by the door alone
	mapped  netip.AddrPort
	other   netip.AddrPort
	rtt     time.Duration
}

// request is a datagram to be sent.
type request struct {
	socket int
	to     netip.AddrPort
	data   []byte
}

func newSurvey(now time.Time, servers []netip.AddrPort, w surveyWish) *survey {
	servers = slices.Clone(servers[:min(len(servers), maxServers)])
	s := &survey{wish: w, servers: servers, ports: make(map[int]uint16)}
	for _, addr := range servers {
		s.ask(now, toMap, mapSocket, addr)
	}
	if len(servers) > 0 {
		s.ask(now, toInquire, filterSocket, servers[0])
	}
	return s
}

func (s *survey) ask(at time.Time, p purpose, socket int, to netip.AddrPort) *question {
	q := &question{purpose: p, socket: socket, hears: socket, to: to, at: at}
	rand.Read(q.id[:])
	s.questions = append(s.questions, q)
	return q
}

// data is the datagram of the next try. Each has an ID of its own, so that its
// answer can be timed.
func (q *question) data() []byte {
	id := q.tryID(q.tries)
	switch q.purpose {
	case toInquire:
		return stun.Inquiry(id)
	case toFilter:
		return stun.Request(id, stun.Change{Port: true})
	case toFilterAll:
		return stun.Request(id, stun.Change{IP: true, Port: true})
	case toLive:
		return stun.RequestTo(id, q.port)
	}
	return stun.Request(id, stun.Change{})
}

func (q *question) tryID(n int) stun.TxID {
	id := q.id
	id[len(id)-1] = byte(n)
	return id
}

// due lists what to send now, and gives up what has been silent for too long.
func (s *survey) due(now time.Time) []request {
	var list []request
	for _, q := range s.questions {
		if q.outcome != waiting || now.Before(s.dueAt(q)) {
			continue
		}
		if q.tries == len(asking) || q.purpose == toLive && s.outlived(q) {
			q.outcome = silent
			if q.door.IsValid() {
				q.outcome, q.from, q.barred = answered, q.door, true
			}
			continue
		}
		list = append(list, request{q.socket, q.to, q.data()})
		q.sent[q.tries] = now
		q.tries++
	}
	if s.proceed(now) {
		list = append(list, s.due(now)...)
	}
	return list
}

// dueAt is when a question is asked again, or given up.
func (s *survey) dueAt(q *question) time.Time {
	if q.purpose == toLive && q.tries == 0 && s.outlived(q) {
		return time.Time{} // no use to wait
	}
	if q.tries < len(asking) {
		return q.at.Add(asking[q.tries])
	}
	return q.sent[q.tries-1].Add(max(answerTime, 3*s.rtt()))
}

// deadline is when due has something to do; zero: never, the survey is over.
func (s *survey) deadline() time.Time {
	var d time.Time
	for _, q := range s.questions {
		if q.outcome == waiting {
			d = earlier(d, s.dueAt(q))
		}
	}
	return d
}

// take takes in a datagram that came to a socket. What is no answer to a question
// is nobody's business here.
func (s *survey) take(now time.Time, socket int, from netip.AddrPort, b []byte) {
	r, err := stun.ParseResponse(b)
	if id, ok := stun.RequestID(b); ok { // our own, come back
		r.TxID, err = id, nil
	}
	q, try := s.find(r.TxID)
	if q == nil || q.outcome != waiting || q.hears != socket || !q.goesAround() && from != q.to {
		return
	}
	q.outcome = answered
	if err != nil {
		q.outcome = refused
	}
	q.from, q.mapped, q.other, q.rtt = from, r.Mapped, r.Other, now.Sub(q.sent[try])
}

// overhear takes in a datagram that came by a socket's door. Only once it is certain
// that the socket does not get it too, it counts.
func (s *survey) overhear(socket int, from netip.AddrPort, b []byte) {
	r, err := stun.ParseResponse(b)
	if q, _ := s.find(r.TxID); err == nil && q != nil && q.hears == socket && (q.purpose == toFilter || q.purpose == toFilterAll) {
		q.door = from
	}
}

// filters reports whether a socket is one that asks for answers from elsewhere.
func (s *survey) filters(socket int) bool { return socket == filterSocket || socket >= spareSocket }

// goesAround reports whether the answer comes from elsewhere than was asked.
func (q *question) goesAround() bool {
	return q.purpose == toFilter || q.purpose == toFilterAll || q.purpose == toHairpin
}

func (s *survey) find(id stun.TxID) (q *question, try int) {
	for _, q := range s.questions {
		for n := range q.tries {
			if q.tryID(n) == id {
				return q, n
			}
		}
	}
	return nil, 0
}

// proceed asks what follows from the answers so far, and reports whether there
// was anything.
func (s *survey) proceed(now time.Time) bool {
	before := len(s.questions)
	s.proceedMapping(now)
	s.proceedFiltering(now)
	s.proceedSamples(now)
	if s.wish.hairpin && s.reference != nil && !s.asked(toHairpin) {
		s.proceedHairpin(now)
	}
	if s.wish.lifetime && s.reference != nil {
		s.proceedLifetime(now)
	}
	return len(s.questions) > before
}

// proceedMapping asks the addresses that servers say they have besides.
func (s *survey) proceedMapping(now time.Time) {
	for _, q := range s.questions {
		if q.purpose != toMap || !q.other.IsValid() || q.other.Addr().Is4() != q.to.Addr().Is4() {
			continue
		}
		for _, port := range []uint16{q.to.Port(), q.other.Port()} {
			if a := netip.AddrPortFrom(q.other.Addr(), port); len(s.servers) < maxServers && !slices.Contains(s.servers, a) {
				s.servers = append(s.servers, a)
				s.ask(now, toMap, mapSocket, a)
			}
		}
	}
}

// proceedFiltering has a server that knows how answer from elsewhere. Where the
// first one doesn't answer at all or doesn't know, the next one is asked.
func (s *survey) proceedFiltering(now time.Time) {
	var last *question
	for _, q := range s.questions {
		if q.purpose == toInquire {
			last = q
		}
	}
	switch {
	case last == nil || last.outcome == waiting || s.tested:
	case last.outcome == answered:
		s.tested, s.reference = true, last
		s.ask(now, toFilter, last.socket, last.to)
		s.ask(now, toFilterAll, last.socket, last.to)
	default:
		if next, ok := s.answeringAfter(last.to); ok {
			s.ask(now, toInquire, max(spareSocket, last.socket+1), next)
		}
	}
}

// proceedSamples asks from fresh sockets.
func (s *survey) proceedSamples(now time.Time) {
	b, _ := s.mapping()
	m := s.first(toMap)
	if m == nil || !s.wish.ports && !dependent(b) || s.asked(toSample) {
		return
	}
	for i := range samplePorts {
		s.ask(now, toSample, sampleSocket+i, m.to)
	}
}

// proceedHairpin sends between two of our sockets by their public addresses. Each
// opens its own filter for the other.
func (s *survey) proceedHairpin(now time.Time) {
	if m := s.first(toMap); m != nil {
		s.ask(now, toHairpin, s.reference.socket, m.mapped).hears = mapSocket
		s.ask(now, toHairpin, mapSocket, s.reference.mapped).hears = s.reference.socket
	}
}

// proceedLifetime makes mappings, and asks for an answer to each at its age.
func (s *survey) proceedLifetime(now time.Time) {
	if !s.asked(toLast) {
		for i := range lifetimes {
			s.ask(now, toLast, lifeSocket+i, s.reference.to)
		}
	}
	for _, q := range s.questions {
		if i := q.socket - lifeSocket; q.purpose == toLast && q.outcome == answered && q.port == 0 {
			q.port = q.mapped.Port() // once
			live := s.ask(now.Add(lifetimes[i]), toLive, mapSocket, q.to)
			live.port, live.hears = q.port, q.socket
		}
	}
}

// answeringAfter is the next server of the list that is known to answer.
func (s *survey) answeringAfter(addr netip.AddrPort) (netip.AddrPort, bool) {
	passed := false
	for _, q := range s.questions {
		if passed && q.purpose == toMap && q.outcome == answered {
			return q.to, true
		}
		passed = passed || q.purpose == toMap && q.to == addr
	}
	return netip.AddrPort{}, false
}

// outlived reports whether a younger mapping than that of q was found gone.
func (s *survey) outlived(q *question) bool {
	return slices.ContainsFunc(s.questions, func(o *question) bool {
		return o.purpose == toLive && o.outcome == silent && o.hears < q.hears
	})
}

func (s *survey) asked(p purpose) bool {
	return slices.ContainsFunc(s.questions, func(q *question) bool { return q.purpose == p })
}

// first returns the first question of a purpose that was answered; nil: none.
func (s *survey) first(p purpose) *question {
	for _, q := range s.questions {
		if q.purpose == p && q.outcome == answered {
			return q
		}
	}
	return nil
}

// bound notes the local port of a socket.
func (s *survey) bound(socket int, port uint16) { s.ports[socket] = port }

func (s *survey) rtt() time.Duration {
	var best time.Duration
	for _, q := range s.questions {
		if q.rtt > 0 && (best == 0 || q.rtt < best) && q.purpose <= toInquire {
			best = q.rtt
		}
	}
	return best
}
