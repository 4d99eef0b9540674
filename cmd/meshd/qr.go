package main

import (
	"strings"

	"rsc.io/qr"
)

// quiet is how many light modules a QR code has around it (ISO/IEC 18004).
const quiet = 4

// Black on white, whatever the terminal's colours are: many readers want that.
const (
	ink   = "\x1b[38;5;16;48;5;231m"
	noInk = "\x1b[0m"
)

// qrCode draws text as a QR code, with two rows of modules in each line. It fails
// for what is more than such a code holds, 2953 bytes.
func qrCode(text string) (string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString(ink)
		for x := -quiet; x < code.Size+quiet; x++ {
			switch top, bottom := code.Black(x, y), code.Black(x, y+1); {
			case top && bottom:
				b.WriteRune('█')
			case top:
				b.WriteRune('▀')
			case bottom:
				b.WriteRune('▄')
			default:
				b.WriteRune(' ')
			}
		}
		b.WriteString(noInk + "\n")
	}
	return b.String(), nil
}

// essence is a configuration without comments and empty lines.
func essence(config string) string {
	var b strings.Builder
	for line := range strings.Lines(config) {
		if line != "\n" && !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
