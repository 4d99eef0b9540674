package udp

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"
)

// Interfaces come and go under the same names, so what is known of them ages.
// One that isn't known is looked for again, but not for every packet.
const (
	zoneAge   = time.Minute
	zoneRetry = time.Second
)

var zones zoneCache

// zoneCache translates between interface indexes and names, which are the zones
// of link-local addresses.
type zoneCache struct {
	mu      sync.Mutex // guards everything below
	read    time.Time
	names   map[uint32]string
	indexes map[string]uint32
}

// name returns the zone of an interface: its name, or its number if it is gone.
func (z *zoneCache) name(index uint32) string {
	z.mu.Lock()
	defer z.mu.Unlock()
	_, ok := z.names[index]
	z.refresh(ok)
	if name, ok := z.names[index]; ok {
		return name
	}
	return strconv.FormatUint(uint64(index), 10)
}

// index returns the number of an interface, given by name or number.
func (z *zoneCache) index(name string) (uint32, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	_, ok := z.indexes[name]
	z.refresh(ok)
	if index, ok := z.indexes[name]; ok {
		return index, nil
	}
	if index, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(index), nil
	}
	return 0, fmt.Errorf("no interface %q", name)
}

func (z *zoneCache) refresh(found bool) {
	age := time.Since(z.read)
	if age < zoneRetry || found && age < zoneAge {
		return
	}
	z.read = time.Now()
	interfaces, err := net.Interfaces()
	if err != nil {
		return // what was known will do
	}
	z.names, z.indexes = map[uint32]string{}, map[string]uint32{}
	for _, i := range interfaces {
		z.names[uint32(i.Index)], z.indexes[i.Name] = i.Name, uint32(i.Index)
	}
}
