package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/strata-csi/strata/hack/benchmarks"
)

// coldResult is a report of three rounds, in which Strata has so much of the best peer's rate, and immutable ten times that.
func coldResult(share float64) *coldReport {
	rows := newColdRows(full().cold)
	r := &coldReport{Machine: benchmarks.Machine{{"processors", "2 × Z80"}}, Plan: full().cold, Rows: rows.all(), Peak: map[coldSide]int64{ordinary: 100 * mib, rclone: 300 * mib, s3fs: 20 * mib}}
	rates := map[coldSide]float64{ordinary: 100 * share, immutable: 1000 * share, rclone: 100, s3fs: 50, raw: 200}
	for _, f := range r.Rows {
		for i, of := range f.of {
			for _, speed := range []float64{1, 3, 2} { // the machine's, which is the same for all in a round
				f.Sides[i].rounds = append(f.Sides[i].rounds, block{rate: rates[of] * speed})
			}
		}
	}
	return r
}

func TestAimsOfColdAreMetOrMissed(t *testing.T) {
	for name, tt := range map[string]struct {
		share float64
		want  []string
	}{
		"met, some": {2, []string{
			"sequential durable write: 2.00 of the best peer's rate (rclone); the aim, at least 1.5, is met",
			"cold sequential read: 2.00 of the best peer's rate (rclone); the aim, at least 1.5, is met",
			"cold sequential read: 1.00 of the raw client's rate; the aim, at least 0.6, is met",
			"re-read, same mount: 2.00 of the best peer's rate (rclone); the aim, at least 4.0, is missed",
			"re-read, same mount, immutable: 20.00 of the best peer's rate (rclone); the aim, at least 4.0, is met",
			"re-read, new mount: 2.00 of the best peer's rate (rclone); the aim, at least 4.0, is missed",
			"re-read, new mount, immutable: 20.00 of the best peer's rate (rclone); the aim, at least 4.0, is met",
			"random read, 4 KiB, warm: 2.00 of the best peer's rate (rclone); the aim, at least 10.0, is missed",
			"random read, 4 KiB, warm, immutable: 20.00 of the best peer's rate (rclone); the aim, at least 10.0, is met",
			"list and stat of 20000 keys: 1.00 of the raw client's time; the aim, at most 1.2, is met"}},
		"missed": {0.2, []string{
			"sequential durable write: 0.20 of the best peer's rate (rclone); the aim, at least 1.5, is missed",
			"cold sequential read: 0.20 of the best peer's rate (rclone); the aim, at least 1.5, is missed",
			"cold sequential read: 0.10 of the raw client's rate; the aim, at least 0.6, is missed",
			"re-read, same mount: 0.20 of the best peer's rate (rclone); the aim, at least 4.0, is missed",
			"re-read, same mount, immutable: 2.00 of the best peer's rate (rclone); the aim, at least 4.0, is missed",
			"re-read, new mount: 0.20 of the best peer's rate (rclone); the aim, at least 4.0, is missed",
			"re-read, new mount, immutable: 2.00 of the best peer's rate (rclone); the aim, at least 4.0, is missed",
			"random read, 4 KiB, warm: 0.20 of the best peer's rate (rclone); the aim, at least 10.0, is missed",
			"random read, 4 KiB, warm, immutable: 2.00 of the best peer's rate (rclone); the aim, at least 10.0, is missed",
			"list and stat of 20000 keys: 10.00 of the raw client's time; the aim, at most 1.2, is missed"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := coldResult(tt.share).verdicts(); !slices.Equal(got, tt.want) {
				t.Errorf("verdicts\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestThePartOnColdVolumesIsWhole(t *testing.T) {
	got := coldResult(2).Markdown()
	for _, want := range []string{
		"| cold sequential read | Strata | 400 MB/s | 2.00 | 1.00 |\n|  | rclone | 200 MB/s |  |  |\n|  | s3fs | 100 MB/s |  |  |\n|  | raw client | 400 MB/s |  |  |\n",
		"| re-read, same mount | Strata | 400 MB/s | 2.00 |  |\n|  | Strata, immutable | 4000 MB/s | 20.00 |  |\n",
		"| rclone | 300 MiB |\n", "Large files have 512 MiB", "fio, 4 jobs", "--vfs-cache-mode=full", "parallel_count=16", "; 3 rounds |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
	for _, not := range []string{"%!", "%d", "%s"} {
		if strings.Contains(got, not) {
			t.Errorf("it has %q:\n%s", not, got)
		}
	}
}

func TestPeakMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		status string
		want   int64
		bad    bool
	}{
		"as the kernel writes it": {"Name:\trclone\nVmPeak:\t  900000 kB\nVmHWM:\t   93440 kB\nVmRSS:\t   80000 kB\n", 93440 << 10, false},
		"a process that has gone": {"Name:\tx\nState:\tZ (zombie)\n", 0, true},
		"no number":               {"VmHWM:\tmuch kB\n", 0, true},
	} {
		got, err := peakMemory(tt.status)
		if got != tt.want && !tt.bad || (err != nil) != tt.bad {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

func TestPartsOfALargeFileAreAllOfIt(t *testing.T) {
	for _, size := range []int64{1, rawPart - 1, rawPart, 3*rawPart + 1} {
		next := int64(0)
		for _, p := range parts(size) {
			if p[0] != next || p[1] < 1 || p[1] > rawPart {
				t.Errorf("%d bytes: part %v after %d", size, p, next)
			}
			next = p[0] + p[1]
		}
		if next != size {
			t.Errorf("%d bytes: the parts are %d", size, next)
		}
	}
}
