// Package mesh runs the real meshd binary on the hosts of a lab, the way a user
// would: the same commands, the same files, the same words read back.
//
// It knows the command line and what `--json` promises, and nothing of how
// meshd works inside. [World] is the internet that the demo and the end-to-end
// tests share.
package mesh
