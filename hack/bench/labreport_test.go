package main

import (
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/hack/bench/callers"
	"github.com/strata-csi/strata/hack/benchmarks"
)

// labResult is a report of both kinds with a publish that took so long beside a floor of 10 ms.
func labResult(publish time.Duration) *labReport {
	r := &labReport{Machine: benchmarks.Machine{{"processors", "2 × Z80"}}}
	for _, l := range labKinds() {
		k := &kindReport{Kind: l.kind, FSType: l.fsType}
		for _, into := range []*[]*figure{&k.Publish, &k.Unpublish} {
			f := newFigure("publish", 1, "/s", volumeSide, l.bareSteps)
			f.Sides[driver].add(callers.Sample{Each: []time.Duration{publish}, Took: publish})
			f.Sides[bare].add(callers.Sample{Each: ms(10), Took: 10 * time.Millisecond})
			*into = append(*into, f)
		}
		f := newFigure("random read", 32, "IOPS", volumeSide, "raw "+l.fsType)
		f.Sides[driver].rounds = []block{{rate: 50, p50: time.Millisecond}}
		f.Sides[bare].rounds = []block{{rate: 100, p50: time.Millisecond}}
		k.Data = append(k.Data, f)
		r.Kinds = append(r.Kinds, k)
	}
	return r
}

func TestTheEmulatedMachineIsNamedBesideItsFigures(t *testing.T) {
	r := labResult(20 * time.Millisecond)
	r.Kinds[0].Repeated = 3
	for name, said := range map[string]string{"page": r.Markdown(), "terminal": r.Text()} {
		for _, want := range []string{onlyRatios, "kind lvm", "kind xfs", "bare: lvcreate, zeros, mkfs.ext4, mount", "bare: mkdir, project, quota, bind mount", "2.00", "0.50",
			"lvm: 3 answers were Unavailable or DeadlineExceeded"} {
			if !strings.Contains(strings.ToLower(said), strings.ToLower(want)) {
				t.Errorf("the %s lacks %q:\n%s", name, want, said)
			}
		}
		if strings.Contains(said, "the aim") { // its times are the emulation's, whatever they are
			t.Errorf("the %s compares with an aim:\n%s", name, said)
		}
	}
	if strings.Contains(r.Markdown(), "xfs: 0 answers") {
		t.Error("repeats are told that there weren't")
	}
}

func TestEveryKindOfTheEmulatedMachineIsExplained(t *testing.T) {
	for _, k := range labKinds() {
		if aboutLabKind[k.kind] == "" || k.disk == "" || k.raw == "" || k.size == 0 {
			t.Errorf("kind %s isn't whole: %+v", k.kind, k)
		}
	}
}
