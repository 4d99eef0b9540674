package agent

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"meshd/agent/localapi"
)

// lock says that one daemon owns a state folder. The kernel lets go of it when
// the process ends, however it ends.
type lock struct{ file *os.File }

// lock locks the folder, or says who has it.
func (f folder) lock() (*lock, error) {
	path := f.file(lockFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unwritable("lock", path, err)
	}
	held, err := tryLock(file)
	if err == nil && !held {
		err = takenError(f.path, file)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	if err := writePID(file); err != nil {
		file.Close()
		return nil, unwritable("write", path, err)
	}
	return &lock{file}, nil
}

func (l *lock) release() { l.file.Close() }

func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

func takenError(dir string, file *os.File) error {
	buf := make([]byte, 32)
	n, _ := file.ReadAt(buf, 0)
	who := "another meshd daemon"
	if pid := strings.TrimSpace(string(buf[:n])); pid != "" {
		who += " (pid " + pid + ")"
	}
	return localapi.WithHint(fmt.Errorf("%s uses state folder %q", who, dir),
		"`meshd down` ends it; a second mesh on this machine needs --mesh NAME")
}
