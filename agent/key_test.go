package agent

import (
	"fmt"
	"testing"
)

func TestPrivateKeyHidesItself(t *testing.T) {
	k := newPrivateKey()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, k); got != "(private key)" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}
