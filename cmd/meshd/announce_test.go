package main

import (
	"context"
	"errors"
	"testing"

	"meshd/agent/localapi"
)

// fakeServices is the part of a daemon about services: it has one.
type fakeServices struct{}

var files = localapi.Service{
	Instance: "Files", Type: "_http._tcp", Member: "nas", Host: "nas.home.internal", Addresses: addrs("100.96.0.2", "fd12::2"),
	Port: 8080, Text: []string{"path=/a"}, Online: true,
}

func (fakeServices) Announce(_ context.Context, r localapi.AnnounceRequest) (localapi.Service, error) {
	s := files
	s.Type, s.Port, s.Text = "_"+r.Type+"._tcp", r.Port, r.Text
	if r.Name != "" {
		s.Instance = r.Name
	}
	if r.UDP {
		return s, localapi.WithHint(errors.New("laptop announces it already"), "choose another with --name")
	}
	return s, nil
}

func (fakeServices) Unannounce(_ context.Context, r localapi.UnannounceRequest) ([]localapi.Service, error) {
	if r.FromLAN { // nothing of it was there
		return nil, nil
	}
	if r.Type != "" && r.Type != "http" {
		return nil, errors.New("this machine announces no such service")
	}
	return []localapi.Service{files}, nil
}

func (fakeServices) Announced(context.Context) ([]localapi.Service, error) {
	return []localapi.Service{files}, nil
}

func (fakeServices) Browse(_ context.Context, typ string) ([]localapi.Service, error) {
	evil := files
	evil.Instance, evil.Text, evil.Addresses = "a\x1b[2Jb", nil, nil
	if typ != "" {
		return []localapi.Service{files}, nil
	}
	return []localapi.Service{files, evil}, nil
}

func TestServices(t *testing.T) {
	b := newBench(t)
	b.serveDaemon(t)
	b.daemon.Services = fakeServices{}
	b.do(t, "announce http --port 8080 --name Pictures --txt path=/a", 0, `_http._tcp "Pictures" at nas.home.internal:8080`, "")
	b.do(t, "announce http", 2, "", `
		meshd: meshd announce: --port is missing
		hint: meshd announce --help
	`)
	b.do(t, "announce dns --udp --port 53", 1, "", `
		meshd: laptop announces it already
		hint: choose another with --name
	`)
	b.do(t, "announce list", 0, `
		TYPE        NAME   WHERE                   ADDRESSES           TEXT
		_http._tcp  Files  nas.home.internal:8080  100.96.0.2 fd12::2  path=/a
	`, "")
	b.do(t, "unannounce http", 0, `_http._tcp "Files" withdrawn`, "")
	b.do(t, "unannounce --from-lan ipp", 0, `ipp of this LAN: no more`, "")
	b.do(t, "unannounce", 2, "", `
		meshd: meshd unannounce: TYPE, --name or --all is missing
		hint: meshd unannounce --help
	`)
	b.do(t, "browse", 0, `
		TYPE        NAME    WHERE                   ADDRESSES           TEXT
		_http._tcp  Files   nas.home.internal:8080  100.96.0.2 fd12::2  path=/a
		_http._tcp  a?[2Jb  nas.home.internal:8080  -                   -
	`, "")
	b.do(t, "browse http --json", 0, `
		[
		  {
		    "instance": "Files",
		    "type": "_http._tcp",
		    "member": "nas",
		    "host": "nas.home.internal",
		    "addresses": [
		      "100.96.0.2",
		      "fd12::2"
		    ],
		    "port": 8080,
		    "text": [
		      "path=/a"
		    ],
		    "online": true
		  }
		]
	`, "")
}
