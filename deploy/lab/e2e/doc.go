// Package e2e holds the stories that meshd must live through, told with the real
// binary on the hosts of a lab. Limits are generous: how fast things go is
// measured by `make bench`, not here.
package e2e
