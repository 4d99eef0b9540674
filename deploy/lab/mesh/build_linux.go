package mesh

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build builds meshd into a folder, as tests do that run the real binary, and
// returns its path.
func Build(dir string) (string, error) {
	bin := filepath.Join(dir, "meshd")
	build := exec.Command("go", "build", "-o", bin, "meshd/cmd/meshd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build meshd: %w\n%s", err, out)
	}
	return bin, nil
}
