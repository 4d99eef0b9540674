package netcfg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a lock that another daemon holds is tried.
const lockPoll = 5 * time.Millisecond

// editFile changes a file of the host's by a function of its content; other
// daemons of ours wait meanwhile. A file that is as it should be isn't touched. A
// file that isn't there counts as empty, and is only made for something.
func editFile(ctx context.Context, path string, edit func([]byte) []byte) error {
	path = followLinks(path)
	unlock, err := lockFolder(ctx, filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("lock the folder of %s: %w", path, err)
	}
	defer unlock()
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	missing := err != nil
	text := edit(bytes.Clone(old))
	if bytes.Equal(text, old) {
		return nil
	}
	if missing {
		return os.WriteFile(path, text, 0o644)
	}
	return replace(path, old, text)
}

// followLinks returns where a path that may be a link leads.
func followLinks(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// lockFolder locks a folder against other daemons of ours.
func lockFolder(ctx context.Context, path string) (unlock func(), err error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { dir.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			dir.Close()
			return nil, err
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			dir.Close()
			return nil, ctx.Err()
		}
	}
}

// replace gives a file another content: by a new file in its place, so that
// nobody reads half of it, or, where that can't be (a mount of its own as in
// containers, a folder that is read-only, a second name of the file), in place.
func replace(path string, old, text []byte) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Nlink == 1 && swap(path, text, st) == nil {
		return nil
	}
	same := 0
	for same < len(old) && same < len(text) && old[same] == text[same] {
		same++
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text[same:], int64(same))
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// swap puts a new file with the old one's owner, mode and labels in its place. On
// error all is as before.
func swap(path string, text []byte, like unix.Stat_t) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".meshd-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails, rightly, once renamed
	_, err = f.Write(text)
	if like.Uid != 0 || like.Gid != 0 { // root's files are made by root
		err = errors.Join(err, f.Chown(int(like.Uid), int(like.Gid)))
	}
	err = errors.Join(err, f.Chmod(os.FileMode(like.Mode).Perm()), copyLabels(path, f), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// copyLabels copies extended attributes, such as the label of SELinux.
func copyLabels(from string, to *os.File) error {
	list := make([]byte, 4096)
	n, err := unix.Listxattr(from, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range bytes.SplitSeq(list[:n], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		value := make([]byte, 65536)
		size, err := unix.Getxattr(from, string(name), value)
		if err == nil {
			err = unix.Fsetxattr(int(to.Fd()), string(name), value[:size], 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// notWritable says why a file can't be edited; empty: it can.
func notWritable(path string) string {
	path = followLinks(path)
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		path = filepath.Dir(path)
	}
	if err := unix.Access(path, unix.W_OK); err != nil {
		return fmt.Sprintf("%s cannot be written: %v", path, err)
	}
	return ""
}
