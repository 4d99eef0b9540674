package netcfg

import "testing"

func TestMetered(t *testing.T) {
	links := map[int]link{1: {name: "eth0"}, 2: {name: "wwan0"}, 3: {name: "usb0"}, 4: {name: "wg0"}, 5: {name: "ppp0"}}
	for _, tt := range []struct {
		name string
		hops []hop
		want bool
	}{
		{"no way out", nil, false},
		{"a cable", []hop{{link: 1}}, false},
		{"a modem", []hop{{link: 2}}, true},
		{"a tethered phone", []hop{{link: 3}}, true},
		{"a dialled line", []hop{{link: 5}}, true},
		{"a cable before a modem", []hop{{link: 2, priority: 700}, {link: 1, priority: 100}}, false},
		{"a modem before a cable", []hop{{link: 1, priority: 700}, {link: 2, priority: 100}}, true},
		{"a tunnel over a modem", []hop{{link: 4, half: true}, {link: 2}}, true},
		{"IPv4 counts, by which searches go", []hop{{link: 2, v6: true}, {link: 1}}, false},
		{"IPv6 alone", []hop{{link: 2, v6: true}}, true},
		{"a link that is gone", []hop{{link: 9}}, false},
	} {
		if got := metered(tt.hops, links); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}
