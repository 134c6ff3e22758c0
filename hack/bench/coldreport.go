package main

// What is said of tier cold.

import (
	"fmt"
	"strings"
	"time"

	"github.com/strata-csi/strata/hack/benchmarks"
)

// coldReport is the result of part cold.
type coldReport struct {
	Machine               benchmarks.Machine
	Plan                  coldPlan
	Rows                  []*coldFigure
	Peak                  map[coldSide]int64 // the most memory that a client's process had, bytes
	LoadBefore, LoadAfter string
	Took                  time.Duration
}

// against compares the rates of two sides of a row round by round, as figure.Ratio does.
func (f *coldFigure) against(i, j int) Ratio {
	two := &figure{Sides: []*side{f.Sides[i], f.Sides[j]}}
	return two.share(0)
}

// best is the index of the peer with the highest rate, rawIndex that of the raw client; -1 where there is none.
func (f *coldFigure) best() int {
	best := -1
	for i, of := range f.of {
		if (of == rclone || of == s3fs) && (best < 0 || f.Sides[i].Rate() > f.Sides[best].Rate()) {
			best = i
		}
	}
	return best
}

func (f *coldFigure) rawIndex() int {
	for i, of := range f.of {
		if of == raw {
			return i
		}
	}
	return -1
}

// verdicts say of every aim whether it was met, in a line each.
func (r *coldReport) verdicts() []string {
	var lines []string
	for _, f := range r.Rows {
		for i, of := range f.of {
			if of != ordinary && of != immutable {
				continue
			}
			name := f.Name
			if of == immutable {
				name += ", immutable"
			}
			if f.peerAim > 0 {
				best := f.best()
				share := f.against(i, best).Median
				lines = append(lines, fmt.Sprintf("%s: %.2f of the best peer's rate (%s); the aim, at least %.1f, is %s", name, share, f.Sides[best].Name, f.peerAim,
					met(share >= f.peerAim)))
			}
			if f.rawAim > 0 {
				share := f.against(i, f.rawIndex()).Median
				lines = append(lines, fmt.Sprintf("%s: %.2f of the raw client's rate; the aim, at least %.1f, is %s", name, share, f.rawAim, met(share >= f.rawAim)))
			}
			if f.timeAim > 0 {
				times := f.against(f.rawIndex(), i).Median
				lines = append(lines, fmt.Sprintf("%s: %.2f of the raw client's time; the aim, at most %.1f, is %s", name, times, f.timeAim, met(times <= f.timeAim)))
			}
		}
	}
	return lines
}

// table has all rows.
func (r *coldReport) table() table {
	t := table{head: []string{"what", "of", "rate", "rate ÷ best peer", "rate ÷ raw client"}}
	for _, f := range r.Rows {
		name := f.Name
		for i, s := range f.Sides {
			row := []string{name, s.Name, fmt.Sprintf("%.0f %s", s.Rate(), f.Unit), "", ""}
			if f.of[i] == ordinary || f.of[i] == immutable {
				if best := f.best(); best >= 0 {
					row[3] = f.against(i, best).String()
				}
				if raw := f.rawIndex(); raw >= 0 {
					row[4] = f.against(i, raw).String()
				}
			}
			t.rows = append(t.rows, row)
			name = ""
		}
	}
	return t
}

// memory is the table of the clients' memory.
func (r *coldReport) memory() table {
	t := table{head: []string{"client", "peak resident memory"}}
	for _, side := range []coldSide{ordinary, rclone, s3fs} {
		t.rows = append(t.rows, []string{coldNames[side], fmt.Sprintf("%d MiB", r.Peak[side]/mib)})
	}
	return t
}

func (r *coldReport) rounds() int { return len(r.Rows[0].Sides[0].rounds) }

// Text is for a terminal.
func (r *coldReport) Text() string {
	var b strings.Builder
	b.WriteString("Cold volumes\n" + r.table().text() + "\n" + r.memory().text() + "\n")
	for _, line := range r.verdicts() {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "\nCold: %d rounds, load %s before, %s after, on %s. Took %s.\n", r.rounds(), r.LoadBefore, r.LoadAfter, r.Machine[0][1], r.Took.Round(time.Second))
	return b.String()
}

// coldHeading begins the part of the page that Markdown writes.
const coldHeading = "\n## Cold volumes\n"

// Markdown is the part of docs/benchmarks.md on tier cold.
func (r *coldReport) Markdown() string {
	var b strings.Builder
	b.WriteString(coldHeading + "\n" + aboutCold + "\n" + r.Machine.Markdown())
	fmt.Fprintf(&b, "| load average | %s before, %s after |\n| duration | %s; %d rounds |\n", r.LoadBefore, r.LoadAfter, r.Took.Round(time.Second), r.rounds())
	b.WriteString("\n### Against the aims of cold volumes\n\n")
	for _, line := range r.verdicts() {
		b.WriteString("- " + line + "\n")
	}
	b.WriteString("\n### Rates\n\n" + r.table().markdown() + "\n")
	fmt.Fprintf(&b, aboutRates, r.Plan.large/mib, coldJobs)
	b.WriteString("\n### Memory\n\n" + r.memory().markdown() + "\n" + aboutMemory)
	fmt.Fprintf(&b, "\n### Options of the other clients\n\n"+aboutPeers, strings.Join(rcloneOptions, " "), strings.Join(s3fsOptions, ","))
	return b.String()
}

const aboutCold = "`go run -tags pacific ./hack/bench -only cold -write`, as root, measures this part alone,\n" +
	"without Ceph, in about five minutes, and leaves the rest of the page as it is. It installs rclone and s3fs where they are missing.\n\n" +
	`One S3 server on the same machine (versitygw, over a directory), plain HTTP, without a network between: a client costs here what it costs in processor time, and the server takes its share of the
same processors. The clients take turns, in several rounds. *Strata* is a volume by hand that is the whole bucket, published as for a pod;
*immutable* another with ` + "`immutable: \"true\"`" + `, with the same cache, whose files the kernel reads by itself once they are whole
([decision 31](decisions/0031-passthrough.md)). *raw client* is pkg/s3 without a file system: 16 requests at once, of 8 MiB each where the file is
large. Before each figure everything is written to the disk that waits for it.
`

const aboutRates = `- Large files have %d MiB and are read and written in pieces of 1 MiB by one program. What was written has arrived: the time is that of write, fsync and close,
  and until the raw client finds the whole object on the server. rclone's close doesn't wait for that.
- Cold: a freshly mounted client and a file that it never had; it is in the server's memory. *Re-read, same mount*: the pages that the kernel has of the
  mount's file are dropped (posix_fadvise), those of the files of the cache are not, on any side. A volume that is immutable has read the file through this mount before.
  *New mount*: unmounted and mounted again, so the kernel has nothing of the mount's files; the cache's files are in memory where there is room. *Cache not
  in memory*: besides, the kernel's pages of all files in the cache directory are dropped.
- Random: fio, %d jobs, psync, each block at most once, in the mount of the row above; the kernel's pages of the mount's file are dropped first, and no
  page is read twice, so the client (or the cache's file) is asked for each block.
- Small files: one program, one file after the other; the raw client as above, 16 at once. Created counts as written does. A list (ls -f), a list and stat (ls -l: each name is looked at as soon as it
  was read) and a list of all names before the first is looked at begin in a fresh mount; the files that are read are in no cache. The raw client's list is ListObjectsV2, 1000 keys a page, one page after the other.
`

const aboutMemory = `VmHWM of the client's process, the most of all its mounts; of Strata the engine's, strata-coldfs. Pages of mapped files count.
`

const aboutPeers = "Both are Debian's. Each has a cache directory of its own, on the same disk as Strata's, with room for all. What isn't named has its default.\n\n" +
	"- rclone mount: `%s`. So it asks for no object's metadata (modification times are the server's), uploads at once, and with 16 requests at once.\n" +
	"- s3fs: `-o %s`. So it has 16 requests at once, and keeps the attributes of all objects.\n" +
	"- Neither looks at the server again for 5 and 15 minutes at what it has listed, where Strata does after a second; here no row needs it to.\n"
