package netcfg

import "testing"

func TestMetered(t *testing.T) {
	links := map[int]link{1: {name: "eth0"}, 2: {name: "wwan0"}, 3: {name: "usb0"}, 4: {name: "wg0"}, 5: {name: "ppp0"}}
	for _, tt := range []struct {
		name string
		hops []hop
		want bool
		said uint32 // by NetworkManager
	}{
		{"no way out", nil, false, 0},
		{"a cable", []hop{{link: 1}}, false, 0},
		{"a modem", []hop{{link: 2}}, true, 0},
		{"a tethered phone", []hop{{link: 3}}, true, 0},
		{"a dialled line", []hop{{link: 5}}, true, 0},
		{"a cable before a modem", []hop{{link: 2, priority: 700}, {link: 1, priority: 100}}, false, 0},
		{"a modem before a cable", []hop{{link: 1, priority: 700}, {link: 2, priority: 100}}, true, 0},
		{"a tunnel over a modem", []hop{{link: 4, half: true}, {link: 2}}, true, 0},
		{"IPv4 counts, by which searches go", []hop{{link: 2, v6: true}, {link: 1}}, false, 0},
		{"IPv6 alone", []hop{{link: 2, v6: true}}, true, 0},
		{"a link that is gone", []hop{{link: 9}}, false, 0},
		{"a cable, of which its owner says that it costs", []hop{{link: 1}}, true, nmMetered},
		{"a cable that leads to a phone", []hop{{link: 1}}, true, nmGuessYes},
		{"a modem without a limit", []hop{{link: 2}}, false, nmNotMetered},
		{"a modem about which NetworkManager guesses", []hop{{link: 2}}, true, 4},
	} {
		if got := metered(tt.said, tt.hops, links); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}
