package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tools are the host's programs that the lab uses. Those that the host hasn't are
// missed by what needs them.
var tools = strings.Fields(`
	sh bash cat stat head tail wc tee ls rm cp mv mkdir ln grep sed cut tr sort seq sleep true false timeout id uname readlink sha256sum dd date
	mount umount unshare nsenter setpriv env hostname pkill ps kill sysctl dmesg
	ip bridge ss nft conntrack ping socat iperf3 wg wg-quick dig nsupdate getent miniupnpd`)

// configs are what their libraries read.
var configs = []string{"/etc/passwd", "/etc/group", "/etc/protocols", "/etc/services"}

// plan is what the first process is to do.
type plan struct {
	Modules []string // paths, in order of loading
	Program []string
	Env     []string
}

const planFile = "/plan.json"

// writeInitrd makes the guest's file system.
func writeInitrd(to string, s settings) error {
	f, err := os.Create(to)
	if err != nil {
		return fmt.Errorf("write the guest's files: %w", err)
	}
	defer f.Close()
	a := newArchive(f)
	p := plan{Env: s.env}
	if err := fill(a, &p, s); err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	a.entry(planFile, modeFile, 0, 0, text)
	return a.finish()
}

func fill(a *archive, p *plan, s settings) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if err := a.file("/init", self); err != nil {
		return err
	}
	for _, d := range []string{"/dev", "/proc", "/sys", "/tmp", "/run", "/root", "/var/lib", "/etc"} {
		a.dir(d)
	}
	a.link("/var/run", "/run")
	a.entry("/dev/console", modeChar, 5, 1, nil)
	c := closure{archive: a}
	for _, name := range tools {
		if file, err := exec.LookPath(name); err == nil {
			if err := c.add("/bin/"+name, file); err != nil {
				return err
			}
		}
	}
	for _, name := range configs {
		if content, err := os.ReadFile(name); err == nil {
			a.entry(name, modeFile, 0, 0, content)
		}
	}
	for _, spec := range append(s.add, s.program[0]) {
		from, to, named := strings.Cut(spec, ":")
		if !named {
			to = "/bin/" + filepath.Base(from)
		}
		if err := c.add(to, from); err != nil {
			return err
		}
	}
	p.Program = append([]string{"/bin/" + filepath.Base(s.program[0])}, s.program[1:]...)
	p.Modules, err = addModules(a, s.kernel)
	return err
}

// isELF reports whether content is a program or library.
func isELF(content []byte) bool { return bytes.HasPrefix(content, []byte("\x7fELF")) }
