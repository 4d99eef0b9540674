package main

import systemd "github.com/coreos/go-systemd/v22/daemon"

// notifyReady tells systemd, if it started us, that we serve. That it could not
// be told is systemd's to notice.
func notifyReady() { _, _ = systemd.SdNotify(false, systemd.SdNotifyReady) }
