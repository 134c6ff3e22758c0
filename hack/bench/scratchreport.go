package main

// What is said of tier scratch.

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/strata-csi/strata/hack/benchmarks"
)

// scratchReport is the result of part scratch.
type scratchReport struct {
	Machine               benchmarks.Machine
	Kinds                 []*kindReport
	LoadBefore, LoadAfter string
	Took                  time.Duration
}

// kindReport is that of one kind of volumes.
type kindReport struct {
	Kind, FSType             string
	Publish, Unpublish, Data []*figure
	Repeated                 int // calls that were answered Unavailable or DeadlineExceeded
}

// publishAim is how long publishing a volume of 1 GiB may take, the median with one caller.
var publishAim = map[string]time.Duration{"loop": 100 * time.Millisecond, "btrfs": 5 * time.Millisecond}

// The least shares of the raw file system's rate that a volume of kind loop is to have.
const (
	sequentialAim = 0.95
	randomAim     = 0.80
)

// verdicts say of every aim whether it was met, in a line each, and how a kind without one does.
func (r *scratchReport) verdicts() []string {
	var lines []string
	for _, k := range r.Kinds {
		for _, f := range k.Publish {
			if f.Callers == 1 {
				took, aim := f.Sides[driver].P50(), publishAim[k.Kind]
				lines = append(lines, fmt.Sprintf("%s, publish of 1 GiB: p50 %s with one caller; the aim, less than %d ms, is %s", k.Kind, milliseconds(took),
					aim.Milliseconds(), met(took < aim)))
			}
		}
		if k.Repeated > 0 {
			lines = append(lines, k.repeated())
		}
		for _, f := range k.Data {
			share, aim := f.share(driver).Median, sequentialAim
			if strings.HasPrefix(f.Name, "random") {
				aim = randomAim
			}
			if k.Kind != "loop" {
				lines = append(lines, fmt.Sprintf("%s, %s: %.2f of the raw file system's rate; no aim", k.Kind, f.Name, share))
				continue
			}
			lines = append(lines, fmt.Sprintf("%s, %s: %.2f of the raw file system's rate; the aim, at least %.2f, is %s", k.Kind, f.Name, share, aim, met(share >= aim)))
		}
	}
	return lines
}

func met(yes bool) string {
	if yes {
		return "met"
	}
	return "missed"
}

func (k *kindReport) repeated() string {
	return fmt.Sprintf("%s: %d answers were Unavailable or DeadlineExceeded; the calls were repeated, and the wait counts", k.Kind, k.Repeated)
}

// tables are two: of calls, and of data.
func (k *kindReport) tables() []table {
	return []table{callTable(slices.Concat(k.Publish, k.Unpublish)), dataTable(k.Data, "in flight")}
}

// roundsOf says how many rounds each kind had.
func roundsOf(kinds []*kindReport) string {
	var counts []string
	for _, k := range kinds {
		counts = append(counts, fmt.Sprintf("%s: %d rounds of calls, %d of data", k.Kind, rounds(k.Publish), rounds(k.Data)))
	}
	return strings.Join(counts, "; ")
}

// Text is for a terminal.
func (r *scratchReport) Text() string {
	var b strings.Builder
	for _, k := range r.Kinds {
		b.WriteString("Scratch volumes, kind " + k.Kind + "\n")
		for _, t := range k.tables() {
			b.WriteString(t.text() + "\n")
		}
	}
	for _, line := range r.verdicts() {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "\nScratch: load %s before, %s after, on %s. Took %s.\n", r.LoadBefore, r.LoadAfter, r.Machine[0][1], r.Took.Round(time.Second))
	return b.String()
}

// scratchHeading begins the part of the page that Markdown writes.
const scratchHeading = "\n## Scratch volumes\n"

// Markdown is the part of docs/benchmarks.md on tier scratch.
func (r *scratchReport) Markdown() string {
	var b strings.Builder
	b.WriteString(scratchHeading + "\n" + aboutScratch + "\n" + r.Machine.Markdown())
	fmt.Fprintf(&b, "| load average | %s before, %s after |\n| duration | %s; %s |\n", r.LoadBefore, r.LoadAfter, r.Took.Round(time.Second), roundsOf(r.Kinds))
	b.WriteString("\n### Against the aims of scratch volumes\n\n")
	for _, line := range r.verdicts() {
		b.WriteString("- " + line + "\n")
	}
	for _, k := range r.Kinds {
		fmt.Fprintf(&b, "\n### Kind %s\n\n", k.Kind)
		for _, t := range k.tables() {
			b.WriteString(t.markdown() + "\n")
		}
		b.WriteString(aboutKind[k.Kind])
	}
	return b.String()
}

const aboutScratch = "`go run -tags pacific ./hack/bench -only scratch -write`, as root, measures this part alone,\n" +
	"without Ceph, in about six minutes, and leaves the rest of the page as it is.\n\n" +
	`Inline volumes of 1 GiB on a disk of their own: a file system in a sparse file behind a loop device with direct I/O, so there is one loop device more in
every way, also to the raw file system, than on a real disk. All volumes of a row are published, then all are unpublished.
`

var aboutKind = map[string]string{
	"loop": `- The floor of publish: a file with its space set aside, the loop device, mkfs.ext4 with the driver's options, the mount. The driver besides journals its steps
  (fsync), makes sure that nobody else has the volume, makes the file system and mounts it through a device each, forbids both devices to discard, and
  binds the mount, whole, to the pod's path. *The journal's record alone*: the driver's writes to its journal without a volume, one to publish, two to unpublish.
- Data: fio, libaio, O_DIRECT, a file in a published volume beside one on the disk's ext4. What the volume goes through more, a second file system and a loop device, takes
  processor time for each request; a loop device made by hand with the same calls shows how much of that is the driver's.
`,
	"btrfs": `- The floor of publish: a subvolume, its quota group with the limit, a bind mount; of unpublish: the end of the subvolume and the wait for its space.
  The driver mounts an overlay, through which no pod can leave its limit, and journals its steps (fsync).
- Data: as above, beside a file on the disk's btrfs that no quota group but the file system's own counts, and one in a subvolume with a group, without the overlay.
`,
}
