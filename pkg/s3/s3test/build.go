package s3test

// The server's program. It is built once for all packages and kept in bin/, under a name that its sources give, so that a running one is never written over.

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// ProgramEnv is the variable that names the server's program where there is no checkout to build it from: in an emulated machine.
const ProgramEnv = "STRATA_S3TEST_PROGRAM"

// Build builds the server's program (hack/s3) where it isn't there yet, and tells its path. The current directory must be in the checkout, unless ProgramEnv names the
// program. It is for what starts the server without a test; a test takes Program.
var Build = sync.OnceValues(build)

// Program is the path of the server's program (hack/s3).
func Program(t testing.TB) string {
	t.Helper()
	path, err := Build()
	if err != nil {
		t.Fatalf("building the S3 server: %v", err)
	}
	return path
}

func build() (string, error) {
	if path := os.Getenv(ProgramEnv); path != "" {
		return path, nil
	}
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; root = filepath.Dir(root) { // a test runs in the directory of its package
		if _, err := os.Stat(filepath.Join(root, "hack", "s3", "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return "", errors.New("no hack/s3 above the current directory")
		}
	}
	source, bin := filepath.Join(root, "hack", "s3"), filepath.Join(root, "bin")
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version())
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		sum.Write(content)
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(bin, fmt.Sprintf("hack-s3-%.6x", sum.Sum(nil)))
	lock, err := os.OpenFile(filepath.Join(bin, "hack-s3.lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path+".new", ".")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build in hack/s3: %w\n%s", err, bytes.TrimSpace(out))
	}
	return path, os.Rename(path+".new", path)
}
