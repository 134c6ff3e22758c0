package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/hack/bench/callers"
	"github.com/strata-csi/strata/hack/benchmarks"
)

// scratchResult is a report of both kinds with a publish that took so long, and data at a share of the floor's rate.
func scratchResult(publish time.Duration, share float64) *scratchReport {
	r := &scratchReport{Machine: benchmarks.Machine{{"processors", "2 × Z80"}}}
	for _, kind := range []string{"loop", "btrfs"} {
		k := &kindReport{Kind: kind}
		for _, name := range []string{"publish", "unpublish"} {
			f := newFigure(name, 1, "/s", volumeSide, "bare")
			f.Sides[driver].add(callers.Sample{Each: []time.Duration{publish}, Took: publish})
			f.Sides[bare].add(callers.Sample{Each: ms(10), Took: 10 * time.Millisecond})
			if name == "publish" {
				k.Publish = append(k.Publish, f)
			} else {
				k.Unpublish = append(k.Unpublish, f)
			}
		}
		for _, w := range localWorkloads[1:3] {
			f := newFigure(w.name, w.depth, "IOPS", volumeSide, "raw")
			f.Sides[driver].rounds = []block{{rate: 100 * share, p50: time.Millisecond}}
			f.Sides[bare].rounds = []block{{rate: 100, p50: time.Millisecond}}
			k.Data = append(k.Data, f)
		}
		r.Kinds = append(r.Kinds, k)
	}
	return r
}

func TestAimsOfScratchAreMetOrMissed(t *testing.T) {
	for name, tt := range map[string]struct {
		publish time.Duration
		share   float64
		want    []string
	}{
		"met": {4 * time.Millisecond, 0.95, []string{
			"loop, publish of 1 GiB: p50 4.00 ms with one caller; the aim, less than 100 ms, is met",
			"loop, sequential read, 1 MiB: 0.95 of the raw file system's rate; the aim, at least 0.95, is met",
			"loop, random write, 4 KiB: 0.95 of the raw file system's rate; the aim, at least 0.80, is met",
			"btrfs, publish of 1 GiB: p50 4.00 ms with one caller; the aim, less than 5 ms, is met",
			"btrfs, sequential read, 1 MiB: 0.95 of the raw file system's rate; no aim",
			"btrfs, random write, 4 KiB: 0.95 of the raw file system's rate; no aim"}},
		"missed": {100 * time.Millisecond, 0.79, []string{
			"loop, publish of 1 GiB: p50 100 ms with one caller; the aim, less than 100 ms, is missed",
			"loop, sequential read, 1 MiB: 0.79 of the raw file system's rate; the aim, at least 0.95, is missed",
			"loop, random write, 4 KiB: 0.79 of the raw file system's rate; the aim, at least 0.80, is missed",
			"btrfs, publish of 1 GiB: p50 100 ms with one caller; the aim, less than 5 ms, is missed",
			"btrfs, sequential read, 1 MiB: 0.79 of the raw file system's rate; no aim",
			"btrfs, random write, 4 KiB: 0.79 of the raw file system's rate; no aim"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := scratchResult(tt.publish, tt.share).verdicts(); !slices.Equal(got, tt.want) {
				t.Errorf("verdicts\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestThePageKeepsWhatWasNotMeasured(t *testing.T) {
	warm := result(110*time.Millisecond, time.Second)
	both := result(110*time.Millisecond, time.Second)
	both.Scratch = scratchResult(time.Millisecond, 1)
	every := result(110*time.Millisecond, time.Second)
	every.Scratch, every.Lab, every.Cold = both.Scratch, labResult(time.Second), coldResult(1)
	lab := &report{Lab: labResult(3 * time.Second)}
	cold := &report{Cold: coldResult(3)}
	again := &report{Scratch: scratchResult(2*time.Millisecond, 0.5)}
	page, all := warm.Markdown(""), every.Markdown("")
	for name, tt := range map[string]struct {
		r         *report
		page      string
		want, not []string
	}{
		"nothing is there":                        {both, "", []string{"CreateVolume", "p50 1.00 ms"}, nil},
		"scratch alone, for the first time":       {again, page, []string{"CreateVolume", "p50 2.00 ms"}, nil},
		"scratch alone, once more":                {again, both.Markdown(""), []string{"CreateVolume", "p50 2.00 ms"}, []string{"p50 1.00 ms"}},
		"all but the pods":                        {both, both.Markdown("") + benchmarks.PodsHeading + "\n50 pods\n", []string{"50 pods"}, nil},
		"cold alone, after scratch":               {cold, both.Markdown(""), []string{"CreateVolume", "p50 1.00 ms", "read: 3.00 of"}, nil},
		"cold alone, once more":                   {cold, all, []string{"CreateVolume", "p50 1.00 ms", "read: 3.00 of"}, []string{"read: 1.00 of the best"}},
		"cold stays":                              {again, all, []string{"p50 2.00 ms", "read: 1.00 of the best"}, []string{"p50 1.00 ms"}},
		"the emulated machine alone, before cold": {lab, all, []string{"CreateVolume", "p50 1.00 ms", "3000 ms", "read: 1.00 of"}, []string{"1000 ms"}},
		"the emulated machine stays":              {again, all, []string{"p50 2.00 ms", "1000 ms", "read: 1.00 of"}, []string{"p50 1.00 ms"}},
		"all but the emulated machine was there":  {lab, both.Markdown(""), []string{"p50 1.00 ms", "3000 ms"}, nil},
		"warm alone":                              {warm, both.Markdown(""), []string{"CreateVolume", "p50 1.00 ms"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := tt.r.Markdown(tt.page)
			for _, w := range append(tt.want, "# Benchmarks\n", warmHeading, scratchHeading, "| processors | 2 × Z80 |") {
				if !strings.Contains(got, w) {
					t.Errorf("the page lacks %q:\n%s", w, got)
				}
			}
			for _, w := range append(tt.not, "\n\n\n") {
				if strings.Contains(got, w) {
					t.Errorf("the page has %q:\n%s", w, got)
				}
			}
			if n := strings.Count(got, scratchHeading); n != 1 || strings.Count(got, warmHeading) != 1 {
				t.Errorf("a heading is there twice:\n%s", got)
			}
			last := 0
			for _, heading := range []string{warmHeading, scratchHeading, labHeading, coldHeading, benchmarks.PodsHeading} {
				if at := strings.Index(got, heading); at >= 0 {
					if at < last {
						t.Errorf("%q isn't in its place:\n%s", heading, got)
					}
					last = at
				}
			}
			if once := tt.r.Markdown(got); once != got {
				t.Error("written once more, the page is another")
			}
		})
	}
}
