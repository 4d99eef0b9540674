package main

import (
	"context"
	"errors"
	"testing"

	"meshd/agent/localapi"
)

// fakeTuning is the part of a daemon about settings: it has two.
type fakeTuning struct{ metered string }

func (f *fakeTuning) Settings(context.Context) ([]localapi.Setting, error) {
	return []localapi.Setting{
		{Key: "dns", Value: "auto", Default: "auto", Valid: "auto or off", Help: "names"},
		{Key: "metered", Value: f.metered, Default: "auto", Valid: "auto, on or off", Help: "every packet costs"},
	}, nil
}

func (f *fakeTuning) Set(_ context.Context, values map[string]string) error {
	if values["dns"] != "" {
		return localapi.WithHint(errors.New(`dns "maybe" is unknown`), "use auto or off")
	}
	f.metered = values["metered"]
	return nil
}

func TestSettings(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.daemon.Tuning = &fakeTuning{metered: "auto"}
	b.do(t, "set metered=on", 0, `
		KEY      VALUE  DEFAULT  WHAT
		metered  on     auto     every packet costs
	`, "")
	b.do(t, "get", 0, `
		KEY      VALUE  DEFAULT  WHAT
		dns      auto   auto     names
		metered  on     auto     every packet costs
	`, "")
	b.do(t, "get metered", 0, "on", "")
	b.do(t, "get dns --json", 0, `
		{
		  "key": "dns",
		  "value": "auto",
		  "default": "auto",
		  "valid": "auto or off",
		  "help": "names"
		}
	`, "")
	b.do(t, "get speed", 1, "", `
		meshd: there is no setting "speed"
		hint: there are dns, metered
	`)
	b.do(t, "set dns=maybe", 1, "", `
		meshd: dns "maybe" is unknown
		hint: use auto or off
	`)
	for _, bad := range []string{"metered", "=on", "metered=on metered=off"} {
		arg := bad
		if bad == "metered=on metered=off" {
			arg = "metered=off"
		}
		b.do(t, "set "+bad, 2, "", `
			meshd: meshd set: "`+arg+`" is not KEY=VALUE, each key once
			hint: meshd set --help
		`)
	}
	b.do(t, "get metered", 0, "on", "")
}
