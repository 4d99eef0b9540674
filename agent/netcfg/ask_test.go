package netcfg

import (
	"fmt"
	"testing"
)

func TestLookup(t *testing.T) {
	l := Lookup{
		Sources: []string{"files", "resolve", "dns"}, Servers: parseResolvConf("nameserver 192.0.2.53").servers, Search: []string{"lan", "home.internal"},
		Hosts: "127.0.0.1 localhost\n100.96.0.2\tnas.home.internal NAS # meshd home\nfd00::2 nas\n# 192.0.2.1 nas\nwhat nas\n",
	}
	for got, want := range map[string]string{
		fmt.Sprint(l.InHosts("nas")):                              "[100.96.0.2 fd00::2]",
		fmt.Sprint(l.InHosts("Nas.Home.internal.")):               "[100.96.0.2]",
		fmt.Sprint(l.InHosts("desk")):                             "[]",
		fmt.Sprint(l.Full("nas")):                                 "[nas.lan nas.home.internal]",
		fmt.Sprint(l.Full("a.b")):                                 "[a.b a.b.lan a.b.home.internal]",
		fmt.Sprint(l.Full("a.")):                                  "[a.]",
		fmt.Sprint(l.Asked()):                                     "[127.0.0.53 192.0.2.53]",
		fmt.Sprint(Lookup{}.ReadsHosts()):                         "true",
		fmt.Sprint(Lookup{Sources: []string{"dns"}}.ReadsHosts()): "false",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
