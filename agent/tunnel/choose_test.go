package tunnel

import (
	"errors"
	"testing"
)

// TestChoose holds whether this system's kernel has a WireGuard or not.
func TestChoose(t *testing.T) {
	want := Kernel
	if kernelReady() != nil {
		want = Userspace
	}
	for _, asked := range []string{"", Auto} {
		if got, err := Choose(asked); got != want || err != nil {
			t.Errorf("Choose(%q): got %q, %v, want %q", asked, got, err, want)
		}
	}
	if got, err := Choose(Userspace); got != Userspace || err != nil {
		t.Errorf("Choose(userspace): got %q, %v", got, err)
	}
	got, err := Choose(Kernel)
	e, ok := errors.AsType[*Error](err)
	switch {
	case want == Kernel && (got != Kernel || err != nil):
		t.Errorf("Choose(kernel): got %q, %v", got, err)
	case want == Userspace && (!ok || e.Hint == ""):
		t.Errorf("Choose(kernel) without one: got %q, %v, want a hint", got, err)
	}
}
