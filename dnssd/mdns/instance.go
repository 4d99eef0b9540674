package mdns

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// slack is how many days two clocks may be apart.
const slack = 2

// Day numbers the days of UTC.
func Day(t time.Time) int64 { return t.Unix() / 86400 }

// Instance is the name under which the member with this WireGuard key announces
// itself on a day.
func Instance(secret [32]byte, day int64, key [32]byte) string {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("meshd mdns 1\x00"))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(day)))
	mac.Write(key[:])
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// names tells members by their instances, on the days around one.
type names struct {
	secret [32]byte
	day    int64
	keys   map[[32]byte]bool
	by     map[string][32]byte
}

// set makes names those of keys on a day. What is known already isn't computed
// again.
func (n *names) set(day int64, keys [][32]byte) {
	if day != n.day || n.by == nil {
		n.day, n.keys, n.by = day, map[[32]byte]bool{}, map[string][32]byte{}
	}
	now := make(map[[32]byte]bool, len(keys))
	for _, k := range keys {
		now[k] = true
		if !n.keys[k] {
			n.each(k, func(instance string) { n.by[instance] = k })
		}
	}
	for k := range n.keys {
		if !now[k] {
			n.each(k, func(instance string) { delete(n.by, instance) })
		}
	}
	n.keys = now
}

func (n *names) each(key [32]byte, do func(instance string)) {
	for day := n.day - slack; day <= n.day+slack; day++ {
		do(Instance(n.secret, day, key))
	}
}
