package mesh

import (
	"slices"
	"testing"
)

func TestShare(t *testing.T) {
	for share, want := range map[string]string{"": "abcde", "1/1": "abcde", "1/2": "ace", "2/2": "bd", "3/3": "c"} {
		t.Setenv(ShareEnv, share)
		if got, err := Share([]byte("abcde")); err != nil || !slices.Equal(got, []byte(want)) {
			t.Errorf("share %q: got %q, %v, want %q", share, got, err, want)
		}
	}
	for _, share := range []string{"half", "0/2", "3/2"} {
		t.Setenv(ShareEnv, share)
		if got, err := Share([]byte("abcde")); err == nil {
			t.Errorf("share %q: got %q, want an error", share, got)
		}
	}
}
