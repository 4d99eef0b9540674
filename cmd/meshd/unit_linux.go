package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"

	"meshd/agent"
)

// startUnit starts the systemd unit of a mesh, and reports whether there is one.
// It returns when the daemon says that it is ready.
func startUnit(ctx context.Context, mesh string) (found bool, err error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil { // sd_booted(3)
		return false, nil
	}
	unit := "meshd@" + mesh + ".service"
	if mesh == agent.DefaultMesh {
		unit = "meshd.service"
	}
	if exec.CommandContext(ctx, "systemctl", "cat", unit).Run() != nil {
		return false, nil
	}
	out, err := exec.CommandContext(ctx, "systemctl", "start", unit).CombinedOutput()
	if err != nil {
		return true, failure("journalctl -u "+unit, "start %s: %v: %s", unit, err, bytes.TrimSpace(out))
	}
	return true, nil
}
