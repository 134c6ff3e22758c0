package cold

// Files that the kernel reads from the node's cache by itself, for which an engine without privilege needs the holder.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/tests/harness"
)

func TestADataSetIsReadWithoutTheEngine(t *testing.T) {
	f := newFixture(t)
	content := strings.Repeat("0123456789abcde\n", 3<<16) // 3 MiB
	_, err := f.bucket.Put(call(t), "set/large", strings.NewReader(content), int64(len(content)), s3.WriteOptions{})
	must(t, err)
	v := &csi.Volume{VolumeId: "cold:dataset", VolumeContext: map[string]string{"endpoint": f.server.Endpoint, "bucket": "team", "prefix": "set/", "readOnly": "true"}}
	path := filepath.Join(f.a.Mount(v, "dataset", reader), "large")
	pid := engine(t, f.a, "dataset").PID
	var file *os.File
	harness.Eventually(t, "the kernel reads the file by itself", harness.Patience, func() error {
		wantContent(t, path, content)
		var err error
		if file, err = os.Open(path); err != nil || backed(pid) {
			return err
		}
		return errors.Join(errors.New("it asks the engine"), file.Close())
	})
	must(t, unix.Kill(pid, unix.SIGSTOP))
	got := make([]byte, len(content))
	_, err = file.ReadAt(got, 0)
	must(t, errors.Join(err, unix.Kill(pid, unix.SIGCONT)))
	if string(got) != content {
		t.Error("DATA MISMATCH: what is read while the engine is stopped is wrong")
	}
	must(t, file.Close())
	harness.Eventually(t, "the backing file is given back", harness.Patience, func() error {
		if backed(pid) {
			return errors.New("it isn't")
		}
		return nil
	})
	if log := f.a.EngineLogs(); strings.Contains(log, "are read through the engine") {
		t.Errorf("an engine says that it can't\n%s", log)
	}
	f.a.Unmount(v, "dataset")
	nothingLeft(t, f.a)
}

// backed tells whether a file of the cache stands for one of the mount: an engine has no other open to read alone.
func backed(pid int) bool {
	dir := fmt.Sprintf("/proc/%d/", pid)
	fds, _ := os.ReadDir(dir + "fd")
	for _, fd := range fds {
		path, _ := os.Readlink(dir + "fd/" + fd.Name())
		info, _ := os.ReadFile(dir + "fdinfo/" + fd.Name())
		_, flags, _ := strings.Cut(string(info), "flags:\t")
		flags, _, _ = strings.Cut(flags, "\n")
		if strings.HasPrefix(filepath.Base(filepath.Dir(path)), "data-") && strings.HasSuffix(flags, "0") {
			return true
		}
	}
	return false
}
