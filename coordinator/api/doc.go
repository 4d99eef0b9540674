// Package api is the protocol that the coordinator ("the hub") and its agents
// share: who the two are to each other, how an agent reaches the hub, and what
// is said when that fails. The messages themselves, and what each method
// promises, are in meshd/v1/control.proto.
//
// It knows identities, join strings, TLS and HTTP. It never knows members,
// addresses, policy or storage, and imports nothing else of meshd.
//
//	owner    meshd coordinator key create ──► join string: where, pin, secret
//	                                              │ (by mail, paper, file…)
//	agent    ParseJoin ──► Dial ── TCP, TLS 1.3 ──▼
//	         own identity  ── client certificate ─────►  ServerTLS: any Ed25519 key
//	         pin of the join string ◄── certificate ──   its own identity
//	         Join(secret), Map, DNS messages ───────►    Authenticate: who calls?
//
// Trust has no third party. A certificate is only an envelope for an Ed25519
// key: names, issuers and dates in it are never judged. The agent compares the
// hub's key with the pin it was given; the hub compares the agent's key with
// its list of members. TLS 1.3 itself makes both sides prove their keys.
package api
