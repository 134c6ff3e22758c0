package main

// What is said in the end, in the terminal and in docs/benchmarks.md.

import (
	"fmt"
	"strings"
	"time"

	"github.com/strata-csi/strata/hack/benchmarks"
)

// report is a run's result.
type report struct {
	Machine               benchmarks.Machine
	Calls, Mounts, Data   []*figure
	Scratch               *scratchReport // nil: not measured
	Lab                   *labReport     // nil: not measured
	Cold                  *coldReport    // nil: not measured
	LoadBefore, LoadAfter string
	Tick                  string // mds_tick_interval, in seconds
	Took                  time.Duration
	Quick                 bool
}

// aim is what a call may take beyond its floor.
const aim = 0.15

// parity is the least share of the floor's rate that counts as the same.
const parity = 0.95

// overhead is what share of the floor's time a call takes beyond it: with one caller by the medians, which an odd hiccup doesn't move;
// with several by the rates, as the time of a call is mostly spent waiting for the others then.
func (f *figure) overhead() float64 {
	if f.Callers == 1 {
		return f.LatencyRatio(driver).Median - 1
	}
	return f.Ratio(driver).Median - 1
}

// callTable is a table of calls or mounts.
func callTable(figures []*figure) table {
	t := table{head: []string{"operation", "callers", "of", "p50", "p95", "rate", "p50 ÷ floor", "time for all ÷ floor"}}
	for _, f := range figures {
		name, callers := f.Name, fmt.Sprint(f.Callers)
		for i, s := range f.Sides {
			row := []string{name, callers, s.Name, milliseconds(s.P50()), milliseconds(s.P95()), fmt.Sprintf("%.1f/s", s.Rate()), "", ""}
			if i != bare {
				row[6], row[7] = f.LatencyRatio(i).String(), f.Ratio(i).String()
			}
			t.rows = append(t.rows, row)
			name, callers = "", ""
		}
	}
	return t
}

// dataTable is the table of reading and writing; callers is what the figures count as such.
func dataTable(figures []*figure, callers string) table {
	t := table{head: []string{"workload", callers, "in", "rate", "p50", "p95", "rate ÷ floor"}}
	for _, f := range figures {
		name, jobs := f.Name, fmt.Sprint(f.Callers)
		for i, s := range f.Sides {
			row := []string{name, jobs, s.Name, fmt.Sprintf("%.0f %s", s.Rate(), f.Unit), milliseconds(s.P50()), milliseconds(s.P95()), ""}
			if i != bare {
				row[6] = f.share(i).String()
			}
			t.rows = append(t.rows, row)
			name, jobs = "", ""
		}
	}
	return t
}

// share is Ratio the other way round: how much of the floor's rate.
func (f *figure) share(i int) Ratio {
	return f.ratio(i, func(s, floor block) float64 { return s.rate / floor.rate })
}

// String writes the median, and the least and the greatest where there were several rounds.
func (r Ratio) String() string {
	if r.Least == r.Greatest {
		return fmt.Sprintf("%.2f", r.Median)
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", r.Median, r.Least, r.Greatest)
}

// verdicts say of every operation whether the aim was reached, in a line each.
func (r *report) verdicts() []string {
	var lines []string
	for _, figures := range [][]*figure{r.Calls, r.Mounts} {
		for i := 0; i < len(figures); {
			var over, missed []string
			first := figures[i]
			for ; i < len(figures) && figures[i].Name == first.Name; i++ {
				f := figures[i]
				over = append(over, fmt.Sprintf("%+.0f%% (%d)", f.overhead()*100, f.Callers))
				if f.overhead() > aim {
					missed = append(missed, fmt.Sprint(f.Callers))
				}
			}
			word := "aim reached"
			if len(missed) > 0 {
				word = "aim of " + fmt.Sprintf("%.0f%%", aim*100) + " missed with " + strings.Join(missed, ", ") + " callers"
			}
			lines = append(lines, fmt.Sprintf("%s: %s: %s", first.Name, strings.Join(over, ", "), word))
		}
	}
	for _, f := range r.Data {
		share, word := f.share(driver).Median, "parity"
		if share < parity {
			word = "below parity"
		}
		lines = append(lines, fmt.Sprintf("%s: %.0f%% of the bare mount's rate: %s", f.Name, share*100, word))
	}
	return lines
}

// rounds are how many there were of a part, at least.
func rounds(figures []*figure) int {
	if len(figures) == 0 {
		return 0
	}
	return len(figures[0].Sides[driver].rounds)
}

// Text is the report for a terminal.
func (r *report) Text() string {
	var b strings.Builder
	if r.Scratch != nil {
		b.WriteString(r.Scratch.Text() + "\n")
	}
	if r.Lab != nil {
		b.WriteString(r.Lab.Text() + "\n")
	}
	if r.Cold != nil {
		b.WriteString(r.Cold.Text() + "\n")
	}
	if r.Machine != nil {
		b.WriteString(r.warmText())
	}
	if r.Quick {
		b.WriteString("This was a smoke run of one short round: no figure of it means anything.\n")
	}
	return b.String()
}

func (r *report) warmText() string {
	var b strings.Builder
	for _, part := range []table{callTable(r.Calls), callTable(r.Mounts), dataTable(r.Data, "jobs")} {
		if len(part.rows) > 0 {
			b.WriteString(part.text() + "\n")
		}
	}
	for _, line := range r.verdicts() {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "\nRounds: %d of calls, %d of mounts, %d of data. Processes that wanted to run (load): %s before, %s after, on %s.\nTook %s.\n",
		rounds(r.Calls), rounds(r.Mounts), rounds(r.Data), r.LoadBefore, r.LoadAfter, r.Machine[0][1], r.Took.Round(time.Second))
	return b.String()
}

// Markdown is docs/benchmarks.md: what was measured anew, and the rest as it is on the page.
func (r *report) Markdown(page string) string {
	page, pods := benchmarks.CutPods(page)
	page, cold := cutPage(page, coldHeading)
	page, lab := cutPage(page, labHeading)
	page, scratch := cutPage(page, scratchHeading)
	_, warm := cutPage(page, warmHeading)
	if r.Machine != nil {
		warm = r.warmMarkdown()
	}
	if r.Scratch != nil {
		scratch = r.Scratch.Markdown()
	}
	if r.Lab != nil {
		lab = r.Lab.Markdown()
	}
	if r.Cold != nil {
		cold = r.Cold.Markdown()
	}
	return "# Benchmarks\n\n<!-- Written by `make bench`; change hack/bench instead. -->\n\n" + introduction + warm + scratch + lab + cold + pods
}

// cutPage parts the page before a heading; after is empty where there is none.
func cutPage(page, heading string) (before, after string) {
	before, after, found := strings.Cut(page, heading)
	if found {
		after = heading + after
	}
	return before, after
}

// warmHeading begins the part of the page that is on tier warm.
const warmHeading = "\n## Machine\n"

func (r *report) warmMarkdown() string {
	var b strings.Builder
	b.WriteString(warmHeading + "\n" + r.Machine.Markdown())
	fmt.Fprintf(&b, "| load average | %s before, %s after |\n| duration | %s; %d rounds of calls, %d of mounts, %d of data |\n", r.LoadBefore, r.LoadAfter,
		r.Took.Round(time.Second), rounds(r.Calls), rounds(r.Mounts), rounds(r.Data))
	b.WriteString("\n## Against the aims\n\nThe aims: a call takes less than 15% beyond its floor, and data flows as in a bare mount. " +
		"What a call took beyond it, callers in brackets, is compared by the medians with one caller and by the rates with more:\n\n")
	for _, line := range r.verdicts() {
		b.WriteString("- " + line + "\n")
	}
	fmt.Fprintf(&b, "\n## Calls to the controller\n\n%s\n%s", callTable(r.Calls).markdown(), aboutCalls)
	fmt.Fprintf(&b, aboutTick, r.Tick)
	b.WriteString("\n## Mounts\n\n" + callTable(r.Mounts).markdown() + "\n" + aboutMounts)
	b.WriteString("\n## Data\n\n" + dataTable(r.Data, "jobs").markdown() + "\n" + aboutData)
	return b.String()
}

const introduction = "`make bench`, as root, measures what Strata costs on top of Ceph, and on top of a local disk, and beside other clients\n" +
	"of S3, and rewrites this page, in about half an hour. `bin/hack-bench -help` says more.\n\n" +
	`Every figure of the driver stands beside its **floor**: the bare commands or mounts it can't do without, by the same number of callers, in
the same run. The two take turns in several rounds, each of which another one begins. Cold volumes have no floor but a client of S3 without a
file system, and stand beside other clients that have one.

- **p50, p95**: of all single operations of all rounds. **rate**: the median of the rounds' rates.
- **÷ floor**: the median of the rounds' ratios, and in brackets the least and the greatest of them. 1.00 is the floor itself; 1.10 is 10% more time. The
  brackets say how much of a ratio is noise.
- **The absolute figures say little.** All is measured on one machine: the whole of Ceph, with eight OSDs, and the programs that measure share it, and
  every commit of Ceph's metadata is written three times to the same disk. The ratios are what carries over to another cluster, more or less: where Ceph's own part is
  slower, over a network, what the driver adds to it is a smaller part.
`

const aboutCalls = `- The floor is one command to Ceph's manager, sent by librados over a connection that is open already. The manager runs the commands on volumes one after
  the other, so its rate hardly grows with callers, and what the driver does beside it overlaps with other callers' commands: that is why the ratio falls.
- *Plain driver* is what a driver sends to the manager that looks at the cluster by commands before and after, as is usual. Strata sends one, and reads and
  writes its records in the file system (docs/decisions, 1 and 2).
- CreateVolume includes what the bare command leaves out: the look for an existing volume, a RADOS namespace that no other team's volume can have, the
  record, and the answer's path.
`

const aboutTick = `- The metadata servers' mds_tick_interval is %s s here; Ceph's default is 5 s. While the manager empties its trash, a removal now and then waits for a
  commit that nobody hurries, so until the next tick. It does so on both sides alike, with or without a driver; with ticks of 5 s the
  few that are hit would hide what the others cost. Try it with -tick 5s.
`

const aboutMounts = `- The floor is ceph-fuse, started by hand with the options that strata-mountd gives, until its mount is there, and mount --bind; back: two
  unmounts, until ceph-fuse has ended. Starting ceph-fuse and its end take nearly all of the time, and with 32 at once the processors are the limit.
- No command goes to Ceph's manager, on either side: volumes are mounted while it is down.
`

const aboutData = `- Strata isn't in the way of data: a published volume *is* a ceph-fuse mount, so parity is what there should be, and what differs is noise.
- Sequential: one job, blocks of 1 MiB through the page cache; a write counts with its fsync, a read begins in a freshly mounted client. Random: eight
  jobs, blocks of 4 KiB, O_DIRECT. Both volumes are in the erasure-coded pool (4+2), where a small write costs a read and a write of six shards.
`
