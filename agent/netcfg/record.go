package netcfg

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// record is what was changed on the host, on disk before it is.
type record struct {
	Way       Way    `json:"way"`
	Interface string `json:"interface"`
	// Files, of meshd's alone, that were made.
	Files []string `json:"files,omitempty"`
	// Block is the hosts file in which there is a block.
	Block string `json:"block,omitempty"`
	// Entry is the name under which resolvconf was given our server.
	Entry string `json:"entry,omitempty"`
}

// readRecord returns false if nothing was changed.
func readRecord(path string) (record, bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, fmt.Errorf("read record of the resolver: %w", err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, false, fmt.Errorf("read record of the resolver %q: %v", path, err)
	}
	return r, true, nil
}

// write returns when the record would outlast a crash.
func (r record) write(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("record what is changed: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("record what is changed: %w", err)
	}
	return nil
}

// removeRecord says that nothing is changed any more.
func removeRecord(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
