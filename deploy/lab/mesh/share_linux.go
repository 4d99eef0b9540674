package mesh

import (
	"fmt"
	"os"
)

// ShareEnv names a variable of the environment: I/N, where N machines share work,
// and this is the one of number I.
const ShareEnv = "GUEST_SHARE"

// Share deals out work, and returns what is this machine's: all of it without [ShareEnv].
func Share[T any](all []T) ([]T, error) {
	text := os.Getenv(ShareEnv)
	if text == "" {
		return all, nil
	}
	var i, n int
	if _, err := fmt.Sscanf(text, "%d/%d", &i, &n); err != nil || i < 1 || i > n {
		return nil, fmt.Errorf("%s is %q, want one like 1/2", ShareEnv, text)
	}
	var mine []T
	for k, item := range all {
		if k%n == i-1 {
			mine = append(mine, item)
		}
	}
	return mine, nil
}
