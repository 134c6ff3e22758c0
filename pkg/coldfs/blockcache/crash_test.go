//go:build failpoint

package blockcache

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestDeathBetweenAnyTwoSteps kills a process at each step that its work passes, early and late, and looks at what it left: as another process that was there all the time, and as
// the first that comes.
func TestDeathBetweenAnyTwoSteps(t *testing.T) {
	trace := filepath.Join(t.TempDir(), "trace")
	if err := start(t, "once", t.TempDir(), 1, "STRATA_FAILPOINT_TRACE="+trace).Wait(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(b)) {
		times[strings.TrimSpace(line)]++
	}
	if len(times) < 12 {
		t.Fatalf("only %d steps: %v", len(times), times)
	}
	for point, n := range times {
		for _, nth := range slices.Compact([]int{1, min(2, n), (n + 1) / 2, n}) {
			for _, alone := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s=%d/%v", point, nth, alone), func(t *testing.T) {
					dir := t.TempDir()
					var c *Cache
					if !alone {
						c = openCache(t, workOptions(dir))
					}
					err := start(t, "once", dir, 1, fmt.Sprintf("STRATA_FAILPOINT=%s=%d", point, nth)).Wait()
					if s := err; s == nil || !strings.Contains(s.Error(), syscall.SIGKILL.String()) {
						t.Fatalf("the process wasn't killed: %v", err)
					}
					if alone {
						c = openCache(t, workOptions(dir))
					} else if err := c.change(func() error { c.sweep(); return nil }); err != nil {
						t.Fatal(err)
					}
					inspect(t, c)
					for n := range 5 {
						v, size := workVersion(n)
						o := openObject(t, c, v, size)
						has(t, o, v)
						for b := range o.blocks {
							mustPut(t, o, v, b)
						}
						if got := has(t, o, v); int64(len(got)) != o.blocks {
							t.Errorf("%d blocks of %d", len(got), o.blocks)
						}
					}
					inspect(t, c)
					if s := c.Stats(); s.Corrupt != 0 || s.Errors != 0 || c.x.head.writing != 0 {
						t.Errorf("%+v, writing %d", s, c.x.head.writing)
					}
				})
			}
		}
	}
}
