package tunnel

import "fmt"

// Kinds of WireGuard, as `--backend` names them.
const (
	Auto      = "auto"
	Userspace = "userspace"
	Kernel    = "kernel"
)

// Choose returns which kind of WireGuard to use for what was asked: Kernel or
// Userspace. Auto, or "", takes the kernel's where there is one. Kernel where
// there is none is refused, and so is any other word, by an [*Error].
func Choose(backend string) (string, error) {
	switch backend {
	case Userspace:
		return Userspace, nil
	case "", Auto:
		if kernelReady() != nil {
			return Userspace, nil
		}
		return Kernel, nil
	case Kernel:
		if err := kernelReady(); err != nil {
			return "", &Error{
				Message: fmt.Sprintf("backend %q: this system's kernel has no WireGuard: %v", backend, err),
				Hint:    "load the module with `modprobe wireguard`, or use --backend userspace",
				cause:   err,
			}
		}
		return Kernel, nil
	case "rootless":
		return "", &Error{
			Message: fmt.Sprintf("backend %q is not part of this version", backend),
			Hint:    "use --backend userspace",
		}
	}
	return "", &Error{
		Message: fmt.Sprintf("unknown backend %q", backend),
		Hint:    "use --backend auto, kernel or userspace",
	}
}
