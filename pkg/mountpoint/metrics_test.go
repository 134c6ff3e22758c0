package mountpoint_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
)

func TestHungProbesAreCounted(t *testing.T) {
	d := dir(t)
	mountpointtest.Silent(t, d)
	p := mountpoint.NewProber(0)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Answers(ctx, d); !errors.Is(err, mountpoint.ErrProbeHung) {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if n := p.Hung(20 * time.Millisecond); n != 1 {
		t.Errorf("%d calls wait, although their caller has left", n)
	}
	if n := p.Hung(time.Hour); n != 0 {
		t.Errorf("%d calls wait for an hour", n)
	}
}
