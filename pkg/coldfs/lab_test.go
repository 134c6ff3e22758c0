//go:build lab

package coldfs_test

// What only runs in the emulated machine, whose kernel has no FUSE passthrough. tests/kernel runs it, and others of this package, there.

import (
	"os"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
)

func TestAKernelWithoutPassthrough(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: immutable})
	content := noise(14, 3<<20)
	v.put(t, "vol/f", content)
	for range 4 {
		f, err := os.Open(v.Path("f"))
		if err != nil {
			t.Fatal(err)
		}
		whole(t, f, content, "read")
		dropPages(t, f)
		_ = f.Close()
	}
	if n := v.backings(t); n != 0 {
		t.Errorf("%d backing files", n)
	}
	if n := strings.Count(v.Log(), "this kernel has no FUSE passthrough"); n != 1 {
		t.Errorf("it was said %d times that the kernel has none, want once\n%s", n, v.Log())
	}
}
