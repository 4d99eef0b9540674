package tunnel

import (
	"slices"

	"golang.zx2c4.com/wireguard/tun"

	"meshd/agent/tunnel/filter"
)

// filteredTUN is a TUN device that takes from the mesh what a filter admits.
type filteredTUN struct {
	tun.Device
	filter *filter.Filter
}

func (t filteredTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n, err := t.Device.Read(bufs, sizes, offset)
	for i := range n {
		t.filter.Sent(bufs[i][offset : offset+sizes[i]])
	}
	return n, err
}

// Write counts what is not admitted as written: nobody is to send it again.
func (t filteredTUN) Write(bufs [][]byte, offset int) (int, error) {
	refused := func(b []byte) bool { return !t.filter.Admits(b[offset:]) }
	if !slices.ContainsFunc(bufs, refused) {
		return t.Device.Write(bufs, offset)
	}
	admitted := slices.DeleteFunc(slices.Clone(bufs), refused)
	if len(admitted) == 0 {
		return len(bufs), nil
	}
	n, err := t.Device.Write(admitted, offset)
	return n + len(bufs) - len(admitted), err
}
