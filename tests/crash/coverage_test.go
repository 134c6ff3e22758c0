package crash

import (
	"slices"
	"testing"

	"github.com/strata-csi/strata/tests/harness"
)

// TestEveryFailpointHasARow makes a new failpoint without a row here a failure.
func TestEveryFailpointHasARow(t *testing.T) {
	var rows []string
	for _, op := range operations {
		for _, p := range op.points {
			rows = append(rows, "warm/"+p)
		}
	}
	points := harness.Failpoints(t, "pkg/warm")
	if len(points) < 20 {
		t.Fatalf("found %d failpoints only", len(points))
	}
	for _, p := range points {
		if !slices.Contains(rows, p) {
			t.Errorf("no row kills the controller at %s", p)
		}
	}
	for _, p := range rows {
		if !slices.Contains(points, p) {
			t.Errorf("a row names %s, which isn't in pkg/warm", p)
		}
	}
}
