package sts

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/tests/harness"
)

// What a node has in its cache of one volume is neither another user's to read nor that of an engine with the credentials of another volume, which
// looks for the very same objects.
func TestTheCacheIsNobodyElses(t *testing.T) {
	f := newSite(t, "pvc-mine")
	if got, err := os.ReadFile(filepath.Join(f.on, "file")); err != nil || string(got) != content {
		t.Fatalf("with its own credentials: %q, %v", got, err)
	}
	f.node.Unmount(f.csi, "vol")

	kept := 0
	must(t, filepath.WalkDir(filepath.Join(f.node.Dir, "cache"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), content) {
			return err
		}
		kept++
		// As a pod's user would, were the directory within its reach.
		cat := exec.CommandContext(t.Context(), "cat", path)
		cat.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
		if out, err := cat.CombinedOutput(); err == nil || !strings.Contains(string(out), "Permission denied") {
			t.Errorf("another user reads %s: %q, %v", path, out, err)
		}
		return nil
	}))
	if kept == 0 {
		t.Fatal("the cache doesn't have what was read")
	}

	other := f.volume(f.spec("pvc-other"))
	f.node.Secrets = other.fields
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	if err := f.node.Stage(ctx, f.csi, "stolen", rwx); err != nil {
		t.Logf("it can't even be mounted: %v", err)
		return
	}
	for _, name := range []string{"file", "other"} {
		if got, err := os.ReadFile(filepath.Join(f.node.Staging("stolen"), name)); !errors.Is(err, unix.EACCES) {
			t.Errorf("with another volume's credentials %s is %q, %v", name, got, err)
		}
	}
	if names, err := os.ReadDir(f.node.Staging("stolen")); !errors.Is(err, unix.EACCES) {
		t.Errorf("with another volume's credentials the directory has %v, %v", names, err)
	}
}
