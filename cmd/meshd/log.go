package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

const (
	// logFile of the state folder is what a daemon in the background says.
	logFile = "meshd.log"
	// logSize is how long it gets, and so does the one before it: days of a mesh
	// where something is always wrong.
	logSize = 4 << 20
)

// logger writes what a daemon has to say to stderr.
func (a *app) logger() *slog.Logger { return a.loggerTo(a.stderr) }

func (a *app) loggerTo(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if a.getenv("MESHD_LOG") == "debug" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// daemonLogger is the logger of the daemon with this state folder. Where stderr is
// the log that was made for it, that is kept to its size; of any other file others
// take care.
func (a *app) daemonLogger(state string) *slog.Logger {
	path := filepath.Join(state, logFile)
	if f, ok := a.stderr.(*os.File); ok {
		here, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(here, there) {
			return a.loggerTo(&boundedLog{file: f, path: path, size: here.Size(), most: logSize})
		}
	}
	return a.logger()
}

// boundedLog appends to a file. When that is full it becomes the old one, by copy:
// it is this program's standard error, which stays where it is. Not for concurrent
// use; slog's handlers write one by one.
type boundedLog struct {
	file       *os.File // opened for appending
	path       string
	size, most int64
}

// Write implements [io.Writer].
func (l *boundedLog) Write(b []byte) (int, error) {
	if l.size > 0 && l.size+int64(len(b)) > l.most {
		l.putAside()
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	return n, err
}

// putAside begins the file anew. Where there is no room to keep what it held, that
// is lost: the log is not what is to fill a disk.
func (l *boundedLog) putAside() {
	if full, err := os.Open(l.path); err == nil {
		defer full.Close()
		if old, err := os.OpenFile(l.path+".old", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err == nil {
			_, _ = io.Copy(old, full)
			old.Close()
		}
	}
	if l.file.Truncate(0) == nil {
		l.size = 0
	}
}
