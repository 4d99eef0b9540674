package agent

import "testing"

func TestPathMTU(t *testing.T) {
	for _, test := range []struct {
		name          string
		largest, want int
	}{
		{"not known", 0, 1412},
		{"Ethernet", 1444, 1412},
		{"more than we send", 8900, 1412},
		{"tunnel of 1400, IPv4", 1360, 1328},
		{"link of 1280, IPv4", 1248, 1216},
		{"no multiple of 16", 1258, 1216},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := pathMTU(test.largest)
			if got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if filled := (got + 15) &^ 15; test.largest > 0 && filled+wireGuardOverhead > test.largest && got < 1412 {
				t.Errorf("filled up, %d is more than %d", filled+wireGuardOverhead, test.largest)
			}
		})
	}
}
