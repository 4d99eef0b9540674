package main

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

func TestNumbersAsWords(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{span(-time.Second), "0s"},
		{span(59 * time.Second), "59s"},
		{span(119 * time.Minute), "1h"},
		{span(47 * time.Hour), "47h"},
		{span(100 * time.Hour), "4d"},
		{millis(0), "-"},
		{millis(0.44), "0.4ms"},
		{millis(12.3), "12ms"},
		{size(0), "0 B"},
		{size(1023), "1023 B"},
		{size(1024), "1.0 KiB"},
		{size(1<<20 - 1), "1.0 MiB"},
		{size(1<<64 - 1), "16.0 EiB"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	printTable(&b, [][]string{{"NAME", "WHY"}, {"bücherei", ""}, {"a", "b"}, {"c", "1.0\x1b[2J\n\u009bx"}})
	if got, want := b.String(), "NAME      WHY\nbücherei\na         b\nc         1.0?[2J??x\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Every command explains itself in few lines, and its help ends with an example.
func TestHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		if c.HasExample() && !strings.HasSuffix(c.UsageString(), "Example:\n"+c.Example+"\n") {
			t.Errorf("%s: help does not end with its example:\n%s", c.CommandPath(), c.UsageString())
		}
		if !c.HasExample() && !c.HasSubCommands() {
			t.Errorf("%s: no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Long + "\n" + c.UsageString()) {
			if len(line) > 160 {
				t.Errorf("%s: line of %d bytes: %s", c.CommandPath(), len(line), line)
			}
		}
	}
	walk((&app{}).root())
}
