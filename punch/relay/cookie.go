package relay

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"meshd/punch/wire"
)

// cookieBucket is how long one cookie is given out. It is good for that long
// again.
const cookieBucket = 30 * time.Second

// cookie proves that who sends it receives at the address it was sent to.
type cookie = [16]byte

// baker makes cookies and knows its own. It remembers none.
type baker struct{ secret [32]byte }

func newBaker() *baker {
	b := new(baker)
	rand.Read(b.secret[:])
	return b
}

// bake returns the cookie for id at l. binds is how often id has been bound, so
// that the next bind spoils all cookies baked before.
func (b *baker) bake(now time.Time, id wire.RelayID, l leg, binds uint64) cookie {
	return b.at(bucket(now), id, l, binds)
}

// knows reports whether c was baked for the same, less than two buckets ago.
func (b *baker) knows(c cookie, now time.Time, id wire.RelayID, l leg, binds uint64) bool {
	current, previous := b.at(bucket(now), id, l, binds), b.at(bucket(now)-1, id, l, binds)
	return hmac.Equal(c[:], current[:]) || hmac.Equal(c[:], previous[:])
}

func bucket(now time.Time) int64 { return now.Unix() / int64(cookieBucket/time.Second) }

func (b *baker) at(bucket int64, id wire.RelayID, l leg, binds uint64) cookie {
	ip := l.addr.Addr().As16()
	m := binary.BigEndian.AppendUint64(nil, uint64(bucket))
	m = append(m, ip[:]...)
	m = binary.BigEndian.AppendUint16(m, l.addr.Port())
	m = binary.BigEndian.AppendUint32(m, uint32(l.socket))
	m = binary.BigEndian.AppendUint32(m, uint32(id))
	m = binary.BigEndian.AppendUint64(m, binds)
	m = append(m, l.addr.Addr().Zone()...)
	mac := hmac.New(sha256.New, b.secret[:])
	mac.Write(m)
	return cookie(mac.Sum(nil)[:len(cookie{})])
}
