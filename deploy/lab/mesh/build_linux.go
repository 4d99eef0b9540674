package mesh

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// PrebuiltEnv names a variable of the environment: the path of a meshd to test,
// on machines that can't build one.
const PrebuiltEnv = "MESHD_PREBUILT"

// Build builds meshd into a folder, as tests do that run the real binary, and
// returns its path. It is that of [PrebuiltEnv] if that is set.
func Build(dir string) (string, error) {
	if bin := os.Getenv(PrebuiltEnv); bin != "" {
		return bin, nil
	}
	bin := filepath.Join(dir, "meshd")
	build := exec.Command("go", "build", "-o", bin, "meshd/cmd/meshd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build meshd: %w\n%s", err, out)
	}
	return bin, nil
}
