package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/hack/bench/callers"
	"github.com/strata-csi/strata/hack/benchmarks"
)

// result is a report with one figure of each kind.
func result(create, read time.Duration) *report {
	call := func(at int, took time.Duration) *figure {
		f := newFigure("CreateVolume", at, "/s", "Strata", "bare")
		f.Sides[driver].add(callers.Sample{Each: []time.Duration{took}, Took: took})
		f.Sides[bare].add(callers.Sample{Each: ms(100), Took: 100 * time.Millisecond})
		return f
	}
	data := newFigure("read", 1, "MB/s", "Strata", "bare")
	data.Sides[driver].rounds = []block{{rate: 100 / read.Seconds(), p50: time.Millisecond}}
	data.Sides[bare].rounds = []block{{rate: 100, p50: time.Millisecond}}
	return &report{Machine: benchmarks.Machine{{"processors", "2 × Z80"}}, Tick: "0.5", Calls: []*figure{call(1, create), call(8, 100*time.Millisecond)},
		Data: []*figure{data}}
}

func TestVerdictsSayWhatMissedTheAim(t *testing.T) {
	for name, tt := range map[string]struct {
		create, read time.Duration
		want         []string
	}{
		"reached": {114 * time.Millisecond, time.Second,
			[]string{"CreateVolume: +14% (1), +0% (8): aim reached", "read: 100% of the bare mount's rate: parity"}},
		"missed": {130 * time.Millisecond, 2 * time.Second,
			[]string{"CreateVolume: +30% (1), +0% (8): aim of 15% missed with 1 callers", "read: 50% of the bare mount's rate: below parity"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := result(tt.create, tt.read).verdicts(); !slices.Equal(got, tt.want) {
				t.Errorf("verdicts\n%q, want\n%q", got, tt.want)
			}
		})
	}
}

func TestMarkdownTablesAreWhole(t *testing.T) {
	page := result(110*time.Millisecond, time.Second).Markdown("")
	for _, want := range []string{
		"| CreateVolume | 1 | Strata | 110 ms | 110 ms | 9.1/s | 1.10 | 1.10 |\n|  |  | bare | 100 ms | 100 ms | 10.0/s |  |  |\n",
		"| read | 1 | Strata | 100 MB/s |", "| processors | 2 × Z80 |", "mds_tick_interval is 0.5 s",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	columns := 0
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		if n := strings.Count(line, "|"); columns != 0 && n != columns {
			t.Errorf("a row of %d columns in a table of %d: %s", n-1, columns-1, line)
		} else {
			columns = n
		}
	}
}

func TestFioResults(t *testing.T) {
	const answer = `{"jobs":[{"error":0,"read":{"io_bytes":0,"bw_bytes":0,"iops":0,"clat_ns":{}},
"write":{"io_bytes":1048576,"bw_bytes":5000000,"iops":1220.5,"clat_ns":{"percentile":{"50.000000":2000000,"95.000000":9000000}}}}]}`
	for name, tt := range map[string]struct {
		text string
		w    workload
		rate float64 // 0: refused
	}{
		"sequential": {answer, workload{}, 5},
		"random":     {answer, workload{random: true}, 1220.5},
		"error":      {strings.Replace(answer, `"error":0`, `"error":5`, 1), workload{}, 0},
		"nothing":    {strings.Replace(answer, `"bw_bytes":5000000`, `"bw_bytes":0`, 1), workload{}, 0},
		"no JSON":    {"fio: oops", workload{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := fioResult([]byte(tt.text), tt.w)
			if (err == nil) != (tt.rate > 0) || got.rate != tt.rate {
				t.Fatalf("%+v, %v", got, err)
			}
			if err == nil && (got.p50 != 2*time.Millisecond || got.p95 != 9*time.Millisecond) {
				t.Errorf("latencies %s, %s", got.p50, got.p95)
			}
		})
	}
}
