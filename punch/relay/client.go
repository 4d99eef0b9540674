package relay

import (
	"net/netip"
	"slices"
	"time"

	"meshd/punch/wire"
)

// resetGap parts the HELLOs that RESETs can cause.
const resetGap = 100 * time.Millisecond

// ClientConfig is what the control connection tells a member about itself.
type ClientConfig struct {
	ID  wire.RelayID
	Key wire.RelayKey
}

// Client keeps one member's session at one relay: by UDP, or (another Client)
// by WebSocket. It is pure: times and datagrams are passed in, what is to be sent
// is passed out. It is not safe for concurrent use.
//
// It counts as bound from the CHALLENGE on, as the relay does from the ANSWER: what
// leaves after that comes after it. So the first data goes one round trip earlier.
//
//	Start ─► searching ── CHALLENGE ──► checking ── WELCOME ──► resting
//	             ▲                       │    ▲                    │
//	             └── Lost ◄─ no answer ──┘    └─ 22 s, RESET, Kick ┘
type Client struct {
	config ClientConfig
	relay  netip.AddrPort

	state state
	epoch uint16
	rtt   time.Duration // the last one measured
	next  time.Time     // when Step has something to do
	gaps  []time.Duration
	asked questions
	hello time.Time // when the last HELLO left
}

type state uint8

const (
	idle      state = iota // before Start
	searching              // not bound; HELLOs at growing gaps
	resting                // bound; the next HELLO is the keepalive
	checking               // bound; a HELLO, or the ANSWER, waits for its answer
)

// NewClient returns a client that does nothing before Start.
func NewClient(c ClientConfig) *Client { return &Client{config: c} }

// Start begins to look for a relay and leaves any other. The address is zero for
// a WebSocket. Everything that the client wants sent goes there.
func (c *Client) Start(now time.Time, relay netip.AddrPort) (send [][]byte) {
	*c = Client{config: c.config, relay: relay}
	c.enter(searching, searchGaps)
	return c.ask(now)
}

// Stop leaves the relay; the client does nothing until Start.
func (c *Client) Stop() { *c = Client{config: c.config} }

// Kick asks the relay at once and twice more within 150 ms: for use when the
// network has changed. A relay that doesn't answer is then lost soon.
func (c *Client) Kick(now time.Time) (send [][]byte) {
	switch {
	case c.state == idle:
		return nil
	case c.Bound():
		c.enter(checking, slices.Concat(kickGaps, c.retryGaps()[:2]))
	default:
		c.enter(searching, slices.Concat(kickGaps, backoffGaps))
	}
	return c.ask(now)
}

// Addr returns the relay's address as given to Start.
func (c *Client) Addr() netip.AddrPort { return c.relay }

// Bound reports whether the relay is believed to forward for us.
func (c *Client) Bound() bool { return c.state >= resting }

// Epoch returns what data has to carry in its header; 0 before it is bound.
func (c *Client) Epoch() uint16 { return c.epoch }

// NextTimer returns when Step has to be called next; zero means never.
func (c *Client) NextTimer() time.Time { return c.next }

// Step does what is due, if anything is: it returns what to send, and [Lost] if
// the relay was just given up. It may be called at any time.
func (c *Client) Step(now time.Time) (send [][]byte, event Event) {
	if c.state == idle || now.Before(c.next) {
		return nil, nil
	}
	switch {
	case c.state == resting:
		c.enter(checking, c.retryGaps())
	case c.state == checking && len(c.gaps) == 0:
		c.enter(searching, backoffGaps)
		event = Lost{}
	}
	return c.ask(now), event
}

// Receive handles a relay message other than data that came from an address
// (zero: by the WebSocket). It returns what to send, and then [Bound] for a WELCOME,
// or for a CHALLENGE that makes it so. What is not authentic, not asked for or not
// from our relay is ignored.
func (c *Client) Receive(now time.Time, b []byte, from netip.AddrPort) (send [][]byte, event Event) {
	if c.state == idle || from != c.relay {
		return nil, nil
	}
	if h, err := wire.ParseHeader(b); err == nil && h.Type == wire.Reset {
		return c.reset(now), nil
	}
	m, err := wire.ParseSession(b)
	if err != nil || m.ID != c.config.ID || !wire.VerifySession(b, c.config.Key) {
		return nil, nil
	}
	switch m.Type {
	case wire.Challenge:
		return c.answer(now, m)
	case wire.Welcome:
		return nil, c.welcome(now, m)
	}
	return nil, nil
}

// reset takes the relay's hint to say HELLO again. Anyone could have forged it,
// so it changes no timer but that of a keepalive.
func (c *Client) reset(now time.Time) (send [][]byte) {
	if now.Sub(c.hello) < resetGap {
		return nil
	}
	if c.state == resting {
		c.enter(checking, c.retryGaps())
		return c.ask(now)
	}
	return [][]byte{c.newHello(now)}
}

func (c *Client) answer(now time.Time, m *wire.Session) (send [][]byte, event Event) {
	asked, ok := c.asked.answer(now, m.Nonce)
	if !ok {
		return nil, nil
	}
	if c.state == searching {
		c.rtt = now.Sub(asked)
		gaps := c.retryGaps()
		c.enter(checking, gaps[1:])
		c.next = now.Add(gaps[0])
	}
	return [][]byte{wire.AppendSession(nil, &wire.Session{
		Header: wire.Header{Type: wire.Answer, Epoch: m.Epoch, ID: c.config.ID},
		Nonce:  m.Nonce,
		Cookie: m.Cookie,
	}, c.config.Key)}, c.bound(now, asked, m)
}

func (c *Client) welcome(now time.Time, m *wire.Session) Event {
	sent, ok := c.asked.settle(m.Nonce)
	if !ok {
		return nil
	}
	c.enter(resting, nil)
	c.next = now.Add(keepalive)
	return c.bound(now, sent, m)
}

// bound takes over what the relay's answer to a message says.
func (c *Client) bound(now, sent time.Time, m *wire.Session) Event {
	c.rtt, c.epoch = now.Sub(sent), m.Epoch
	return Bound{Observed: m.Observed, RTT: c.rtt, HubTime: time.UnixMilli(m.Time), Epoch: m.Epoch}
}

// enter changes the state; gaps are those after the HELLOs that follow.
func (c *Client) enter(s state, gaps []time.Duration) { c.state, c.gaps = s, gaps }

// ask makes a HELLO and sets the timer by the next gap.
func (c *Client) ask(now time.Time) (send [][]byte) {
	gap := maxGap
	if len(c.gaps) > 0 {
		gap, c.gaps = c.gaps[0], c.gaps[1:]
	}
	c.next = now.Add(gap)
	return [][]byte{c.newHello(now)}
}

func (c *Client) newHello(now time.Time) []byte {
	c.hello = now
	return wire.AppendSession(nil, &wire.Session{
		Header: wire.Header{Type: wire.Hello, Epoch: c.epoch, ID: c.config.ID},
		Nonce:  c.asked.add(now),
	}, c.config.Key)
}
