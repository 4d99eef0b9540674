package main

import (
	"strings"
	"testing"

	"rsc.io/qr"
)

// TestQRCode reads the modules back from what is drawn.
func TestQRCode(t *testing.T) {
	const text = "[Interface]\nAddress = 100.96.0.9/32\n"
	drawn, err := qrCode(text)
	if err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(drawn, "\n"), "\n")
	if want := (code.Size + 2*quiet + 1) / 2; len(lines) != want {
		t.Fatalf("got %d lines, want %d", len(lines), want)
	}
	for i, line := range lines {
		line, colours := strings.CutPrefix(line, ink)
		line, reset := strings.CutSuffix(line, noInk)
		cells := []rune(line)
		if !colours || !reset || len(cells) != code.Size+2*quiet {
			t.Fatalf("line %d has %d cells, want %d between its colours: %q", i, len(cells), code.Size+2*quiet, line)
		}
		for j, c := range cells {
			x, y := j-quiet, 2*i-quiet
			if top, bottom := c == '█' || c == '▀', c == '█' || c == '▄'; top != code.Black(x, y) || bottom != code.Black(x, y+1) {
				t.Errorf("module %d, %d is drawn as %q", x, y, c)
			}
		}
	}
	if _, err := qrCode(strings.Repeat("x", 2954)); err == nil {
		t.Error("more than fits was drawn")
	}
	if got := essence("# phone\n[Interface]\n\n# nas\n[Peer]\n"); got != "[Interface]\n[Peer]\n" {
		t.Errorf("got %q", got)
	}
}
