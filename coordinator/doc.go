// Package coordinator runs the hub of one mesh: it admits members, gives them
// addresses and names, tells each of them about the others, and relays what
// cannot go direct.
//
// It knows members, join keys, addresses, names and who is online. It never
// knows a WireGuard private key, a probe's key, or what is inside a relayed
// packet; and it never knows SQL: a [Store] keeps its state.
//
//	agents ── TLS ── Join, Leave, … ───┐             ┌─ Map streams ──► agents
//	                 (interceptor:     │             │  (full, then deltas)
//	                  who may?)        ▼             │
//	owner ── unix socket ───────► the loop in Run ── fanout
//	                                   │  ▲
//	UDP: "seen at this address" ───────┤  │ Decide(now, event) → changes
//	DNS UPDATE, signed: endpoints ─────┘  │
//	       ◄── roster: keys, who may ──   ▼ Store.Save → Network.Apply
//	                                   Network (pure)
//
// Everything that happens is an [Event]. [Network.Decide] computes what it
// changes and changes nothing; the changes are stored; [Network.Apply] carries
// them out; then those who may see it are told. What cannot be stored has not
// happened, and whoever asked for it is told so.
//
// Endpoints, services and text come in by DNS UPDATE alone, over the agent's
// connection or by plain DNS. A plain member, which runs WireGuard and nothing of
// ours, is seen by the handshakes that it sends to the hub's UDP port.
//
// One goroutine, in [Coordinator.Run], owns the network and the fan-out; others
// hand it functions to run. The relay's packet path and the interceptor read an
// immutable snapshot, the roster.
//
// Places kept for what comes later: [MaySee] is where policy decides who hears
// of whom; [Store] is where PostgreSQL fits; [Member].Signature is for a root
// key that the hub does not have.
package coordinator
