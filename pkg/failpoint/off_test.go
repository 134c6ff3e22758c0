//go:build !failpoint

package failpoint

import "testing"

func TestAnOrdinaryBuildSurvivesAnyFailpoint(t *testing.T) {
	t.Setenv("STRATA_FAILPOINT", "x")
	Hit("x")
	if Enabled {
		t.Error("Enabled without the build tag")
	}
}
