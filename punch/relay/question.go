package relay

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"time"
)

// maxQuestions is how many HELLOs are remembered, more than are ever on their way.
const maxQuestions = 8

// question is a HELLO that has had no WELCOME yet.
type question struct {
	nonce    uint64
	sent     time.Time // when the last message with this nonce left
	answered bool      // its CHALLENGE was
}

// questions are what a client waits for, oldest first.
type questions []question

// add makes a new question and returns its nonce.
func (q *questions) add(now time.Time) uint64 {
	var b [8]byte
	rand.Read(b[:])
	nonce := binary.BigEndian.Uint64(b[:])
	if len(*q) == maxQuestions {
		*q = slices.Delete(*q, 0, 1)
	}
	*q = append(*q, question{nonce: nonce, sent: now})
	return nonce
}

// answer notes that a CHALLENGE is answered now, and returns when its HELLO left. It
// reports false if there was none, or its CHALLENGE was answered before.
func (q questions) answer(now time.Time, nonce uint64) (sent time.Time, ok bool) {
	i := q.index(nonce)
	if i < 0 || q[i].answered {
		return time.Time{}, false
	}
	sent, q[i].sent, q[i].answered = q[i].sent, now, true
	return sent, true
}

// settle forgets a question that had its WELCOME, and all older ones: what
// comes late would be stale. It returns when its last message was sent.
func (q *questions) settle(nonce uint64) (sent time.Time, ok bool) {
	i := q.index(nonce)
	if i < 0 {
		return time.Time{}, false
	}
	sent = (*q)[i].sent
	*q = slices.Delete(*q, 0, i+1)
	return sent, true
}

func (q questions) index(nonce uint64) int {
	return slices.IndexFunc(q, func(h question) bool { return h.nonce == nonce })
}
