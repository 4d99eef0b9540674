package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"meshd/deploy/lab"
	"meshd/deploy/lab/mesh"
)

// avahiFolder has Debian's avahi, which deploy/tools.sh unpacks: installed it would
// answer for the machine itself.
const avahiFolder = "/opt/meshd-tools/avahi"

// avahi is avahi-daemon on a host.
type avahi struct{ host *lab.Host }

// startAvahi starts avahi-daemon on a host, and a system bus for it.
func startAvahi(t *testing.T, host *lab.Host) avahi {
	t.Helper()
	write := func(name, text string) {
		file := filepath.Join(host.Folder(), "run", name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(text), 0o644))
	}
	write("dbus/bus.conf", `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth><policy context="default">
<allow user="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>`)
	write("avahi.conf", "[server]\nratelimit-interval-usec=0\n[wide-area]\nenable-wide-area=yes\n")
	must(t, host.Shell("echo avahi:x:997:997::/:/bin/false >> /etc/passwd; echo avahi:x:997: >> /etc/group"))
	a := avahi{host}
	a.spawn(t, "dbus-daemon", "--config-file=/run/dbus/bus.conf", "--nofork")
	must(t, mesh.Await(t.Context(), patience, func() error {
		_, err := os.Stat(filepath.Join(host.Folder(), "run/dbus/system_bus_socket"))
		return err
	}))
	a.spawn(t, avahiFolder+"/usr/sbin/avahi-daemon", "--no-drop-root", "--no-rlimits", "--no-chroot", "-f", "/run/avahi.conf")
	must(t, mesh.Await(t.Context(), patience, func() error {
		_, err := a.run(t, "avahi-resolve", "-n4", host.Name+".local")
		return err
	}))
	return a
}

// command makes a command on the host that finds avahi's libraries.
func (a avahi) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	libraries, err := filepath.Glob(avahiFolder + "/usr/lib/*-linux-gnu*")
	must(t, err)
	if len(libraries) == 0 {
		t.Fatalf("no avahi in %s: deploy/tools.sh unpacks it", avahiFolder)
	}
	return a.host.Command(t.Context(), "env", append([]string{"LD_LIBRARY_PATH=" + strings.Join(libraries, ":"), name}, args...)...)
}

// spawn starts a program that ends with the host.
func (a avahi) spawn(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := a.command(t, name, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Cancel()
		cmd.Wait() // it was killed, which is an error
	})
	return cmd
}

// run runs one of avahi's tools to its end.
func (a avahi) run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out, err := a.command(t, avahiFolder+"/usr/bin/"+name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return string(out), err
}

func TestAvahiBrowsesTheZone(t *testing.T) {
	w := world(t)
	join(t, w, w.Laptop, w.Nas)
	_, err := w.Nas.Command(t.Context(), "announce", "http", "--port", "8080", "--name", "Photos of nas", "--txt", "path=/photos")
	must(t, err)
	s, err := w.Laptop.Status(t.Context())
	must(t, err)
	p, err := w.Laptop.Peer(t.Context(), "nas")
	must(t, err)

	t.Log("The laptop's resolver is its own meshd. avahi there browses the zone, and resolves what it finds.")
	laptop := w.Laptop.Host
	must(t, laptop.Shell("echo nameserver "+s.Self.Addresses[0].String()+" > /etc/resolv.conf"))
	a := startAvahi(t, laptop)
	must(t, mesh.Await(t.Context(), 2*patience, func() error {
		out, err := a.run(t, "avahi-browse", "--all", "--no-db-lookup", "--resolve", "--parsable", "--terminate", "--domain", "meshd.internal")
		for _, want := range []string{
			`Photos\032of\032nas;_http._tcp;meshd.internal;nas.meshd.internal;` + p.Addresses[0].String() + `;8080;"path=/photos"`,
			`;_wireguard._udp;meshd.internal;` + strings.ReplaceAll(instance(t, p), "=", `\061`) + ";" + mesh.HomeBAddr.String() + ";",
		} {
			if err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("avahi-browse says\n%s\nwant %s", out, want)
			}
		}
		return err
	}))
}
