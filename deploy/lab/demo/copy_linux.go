package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"meshd/deploy/lab/mesh"
)

// copyPort is where the receiving host waits for a file.
const copyPort = "9000"

// copy sends size random bytes from one host to another over the mesh and
// compares checksums. Both ends are the system's own tools.
func (d *demo) copy(from, to string, size int) error {
	data := make([]byte, size)
	rand.Read(data)
	src := d.agent(from)
	if err := os.WriteFile(filepath.Join(src.Host.Folder(), "run/file"), data, 0o600); err != nil {
		return err
	}
	addr, err := src.Address(d.ctx, to)
	if err != nil {
		return err
	}
	sink := d.agent(to).Host.Command(d.ctx, "sh", "-c", "socat -u TCP-LISTEN:"+copyPort+",reuseaddr - | sha256sum")
	var sum strings.Builder
	sink.Stdout = &sum
	if err := sink.Start(); err != nil {
		return err
	}
	if err := d.send(src, addr); err != nil {
		return errors.Join(fmt.Errorf("copy from %s to %s: %w", from, to, err), sink.Process.Kill())
	}
	if err := sink.Wait(); err != nil {
		return fmt.Errorf("copy from %s to %s: %w", from, to, err)
	}
	want := sha256.Sum256(data)
	if got, _, _ := strings.Cut(sum.String(), " "); got != hex.EncodeToString(want[:]) {
		return fmt.Errorf("copy from %s to %s: the file arrived with checksum %s, want %x", from, to, got, want)
	}
	return nil
}

// send pushes the file once the other side listens.
func (d *demo) send(src *mesh.Agent, addr string) error {
	_, err := src.Host.Run(d.ctx, "socat", "-u", "OPEN:/run/file", fmt.Sprintf("TCP:%s:%s,retry=20,interval=0.05,connect-timeout=%d", addr, copyPort, int(5*time.Second/time.Second)))
	return err
}
