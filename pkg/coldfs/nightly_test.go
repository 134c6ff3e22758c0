//go:build nightly

package coldfs_test

// What takes too long for every run: `make nightly`.

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
)

// residentLimit is what an engine may have in memory at most.
const residentLimit = 256 << 20

// resident is the most that the engine has had in memory so far, in bytes (VmHWM in proc_pid_status(5)).
func (v *volume) resident(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no VmHWM in\n%s", status)
	return 0
}

// As `ls -l` reads it: every name, and the attributes of each.
func TestADirectoryOfAHundredThousandFiles(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	const files = 100_000
	// The server keeps an object as a file: made there, they take seconds.
	dir := filepath.Join(v.server.Dir, v.name, "vol", "d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for k := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%06d", k)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := os.Open(v.Path("d"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	seen := 0
	for {
		names, err := d.Readdirnames(1000)
		for _, name := range names {
			if want := fmt.Sprintf("f%06d", seen); name != want {
				t.Fatalf("name %d is %s, want %s", seen, name, want)
			}
			seen++
			var st unix.Stat_t
			if err := unix.Lstat(v.Path("d", name), &st); err != nil || st.Size != 1 {
				t.Fatalf("%s has %d bytes, %v", name, st.Size, err)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen != files {
		t.Errorf("%d names are shown, want %d", seen, files)
	}
	if n := v.resident(t); n > residentLimit {
		t.Errorf("the engine has had %d MiB in memory, want %d at most", n>>20, residentLimit>>20)
	} else {
		t.Logf("the engine has had %d MiB in memory", n>>20)
	}
}
