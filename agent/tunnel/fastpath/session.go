package fastpath

import (
	"crypto/cipher"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/replay"
)

// sweepEvery is how long a session outlives its keypair in the device at most.
const sweepEvery = 15 * time.Second

// session is the receiving side of a keypair.
type session struct {
	peer    *device.Peer
	keypair *device.Keypair
	opener  cipher.AEAD
	created time.Time

	mu     sync.Mutex // guards following: several sources may carry one session
	window replay.Filter
}

// fresh reports whether a packet with this counter was not seen before, and
// remembers it. The packet must be authentic.
func (s *session) fresh(counter uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.ValidateCounter(counter, device.RejectAfterMessages)
}

// sessions are those of the device's keypairs that something was received for.
type sessions struct {
	from *borrowed

	mu  sync.Mutex // guards following
	all map[uint32]*session
}

// find returns the session that a receiver index names; nil: the device has no
// such keypair, or has it no more.
func (ss *sessions) find(index uint32) *session {
	peer, keypair := ss.from.lookup(index)
	if keypair == nil {
		return nil
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.all[index]
	if s == nil || s.keypair != keypair {
		s = &session{
			peer: peer, keypair: keypair,
			opener: ss.from.opener(keypair), created: ss.from.birth(keypair),
		}
		ss.all[index] = s
	}
	return s
}

// sweep forgets the sessions whose keypair the device has dropped. It never has a
// keypair again that it dropped, so no window is lost that still matters.
func (ss *sessions) sweep() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for index, s := range ss.all {
		if _, keypair := ss.from.lookup(index); keypair != s.keypair {
			delete(ss.all, index)
		}
	}
}
