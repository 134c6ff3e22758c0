//go:build lab

package coldfs_test

// What only runs in the emulated machine, whose kernel has no FUSE passthrough. tests/kernel runs it, and others of this package, there.

import (
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
)

func TestAKernelWithoutPassthrough(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: immutable})
	content := noise(14, 3<<20)
	v.put(t, "vol/f", content)
	v.readThroughEngine(t, "f", content)
	if !strings.Contains(v.Log(), "this kernel has no FUSE passthrough") {
		t.Errorf("the reason isn't that the kernel has none:\n%s", v.Log())
	}
}
