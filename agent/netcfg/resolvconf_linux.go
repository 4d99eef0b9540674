package netcfg

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const resolvconfProgram = "resolvconf"

// resolvconfEntry is the name of our entry. Both resolvconfs know from the
// beginning of it that it is a tunnel's, and put those first.
func resolvconfEntry(iface string) string { return entryPrefix + iface + entrySuffix }

const (
	entryPrefix = "tun0-"
	entrySuffix = ".meshd"
)

// Where the two keep an entry each in a file.
const (
	openresolvFolder = "/run/resolvconf/interfaces"
	debianFolder     = "/run/resolvconf/interface"
)

// findResolvconf tells which program of the name the host has.
func findResolvconf(ctx context.Context) resolvconfKind {
	path, err := exec.LookPath(resolvconfProgram)
	if err != nil {
		return noResolvconf
	}
	if strings.HasSuffix(followLinks(path), "resolvectl") {
		return resolvectl
	}
	out, err := runResolvconf(ctx, "", "--version")
	if err == nil && strings.HasPrefix(out, "openresolv") {
		return openresolv
	}
	return debianResolvconf
}

// otherEntry returns whose entry there is besides ours that is another mesh's.
func otherEntry(kind resolvconfKind, own string) string {
	folder := debianFolder
	switch kind {
	case openresolv:
		folder = openresolvFolder
	case debianResolvconf:
	default:
		return ""
	}
	entries, _ := filepath.Glob(filepath.Join(folder, entryPrefix+"*"+entrySuffix))
	for _, e := range entries {
		if name := filepath.Base(e); name != own {
			return "on " + strings.TrimSuffix(strings.TrimPrefix(name, entryPrefix), entrySuffix)
		}
	}
	return ""
}

// setResolvconf makes our first server the host's first. The others stay behind
// it, so that names are still found if the daemon crashes.
func setResolvconf(ctx context.Context, entry string, n Names) error {
	text := fmt.Sprintf("nameserver %s\nsearch %s\n", n.Servers[0], n.Zone)
	for _, folder := range []string{openresolvFolder, debianFolder} {
		if have, err := os.ReadFile(filepath.Join(folder, entry)); err == nil && strings.TrimSpace(string(have)) == strings.TrimSpace(text) {
			return nil
		}
	}
	_, err := runResolvconf(ctx, text, "-a", entry)
	return err
}

func clearResolvconf(ctx context.Context, entry string) error {
	if _, err := exec.LookPath(resolvconfProgram); err != nil {
		return nil // it was removed, with what it knew
	}
	args := []string{"-d", entry}
	if findResolvconf(ctx) == openresolv {
		args = append(args, "-f") // no error if it isn't there
	}
	_, err := runResolvconf(ctx, "", args...)
	return err
}

// otherServers are those of resolvconf's entries that are not of meshes.
func otherServers(ctx context.Context) []netip.Addr {
	var servers []netip.Addr
	kind := findResolvconf(ctx)
	folder := debianFolder
	if kind == openresolv {
		folder = openresolvFolder
	}
	entries, _ := filepath.Glob(filepath.Join(folder, "*"))
	for _, e := range entries {
		if strings.HasSuffix(e, entrySuffix) {
			continue
		}
		text, _ := os.ReadFile(e) // gone by now: no servers
		servers = append(servers, parseResolvConf(string(text)).servers...)
	}
	return servers
}

// runResolvconf returns what it prints; a failure carries that too.
func runResolvconf(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, resolvconfProgram, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = time.Second // hooks of it may hold on to its output
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("resolvconf %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out.Bytes()))
	}
	return out.String(), nil
}
