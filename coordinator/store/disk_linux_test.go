package store

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"meshd/coordinator"
)

// TestRealFullDisk needs root, for a disk of its own: a tmpfs that only this
// thread sees, and that is gone with it.
func TestRealFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: TestFullDisk has to do")
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		onTinyDisk(t, t.TempDir())
	}()
	<-done
}

func onTinyDisk(t *testing.T, dir string) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Errorf("unshare: %v", err)
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		t.Errorf("make mounts private: %v", err)
		return
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Errorf("mount: %v", err)
		return
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	db, err := Open(ctx, filepath.Join(dir, "coordinator.db"))
	if err != nil {
		t.Error(err)
		return
	}
	defer db.Close()
	fillDisk(t, db, filepath.Join(dir, "filler"))
}

// fillDisk fills the disk, and makes room again, in the midst of work.
func fillDisk(t *testing.T, db *DB, filler string) {
	if err := db.Save(ctx, []coordinator.Change{coordinator.PutSettings{Settings: settings}}); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filler, make([]byte, 4<<20), 0o600); err == nil {
		t.Error("4 MB fit onto a disk of 1 MB")
	}
	var all []coordinator.Change
	for id := coordinator.MemberID(1); id < 200; id++ {
		all = append(all, coordinator.PutMember{Member: member(id)})
	}
	err := db.Save(ctx, all)
	if err == nil || !strings.Contains(err.Error(), "full") && !strings.Contains(err.Error(), "I/O") {
		t.Errorf("got %v, want that the disk is full", err)
	}
	if s, err := db.Load(ctx); err != nil || s.Settings != settings || len(s.Members) != 0 {
		t.Errorf("got %d members, %v, want the state from before", len(s.Members), err)
	}
	if err := os.Remove(filler); err != nil {
		t.Error(err)
	}
	if err := db.Save(ctx, all); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if s, err := db.Load(ctx); err != nil || len(s.Members) != 199 {
		t.Errorf("got %d members, %v, want 199", len(s.Members), err)
	}
}
