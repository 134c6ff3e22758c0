package main

// What is said of tier scratch in an emulated machine.

import (
	"fmt"
	"strings"
	"time"

	"github.com/strata-csi/strata/hack/benchmarks"
)

// labReport is the result of part lab. No aim is compared with it: its times are the emulation's.
type labReport struct {
	Machine               benchmarks.Machine
	Kinds                 []*kindReport
	LoadBefore, LoadAfter string
	Took                  time.Duration
}

// Text is for a terminal.
func (r *labReport) Text() string {
	var b strings.Builder
	for _, k := range r.Kinds {
		b.WriteString("Scratch volumes in an emulated machine, kind " + k.Kind + "\n")
		for _, t := range k.tables() {
			b.WriteString(t.text() + "\n")
		}
		if k.Repeated > 0 {
			b.WriteString(k.repeated() + "\n")
		}
	}
	fmt.Fprintf(&b, "\n%s.\nLab: load %s before, %s after, on %s. Took %s.\n", onlyRatios, r.LoadBefore, r.LoadAfter, r.Machine[0][1], r.Took.Round(time.Second))
	return b.String()
}

// labHeading begins the part of the page that Markdown writes.
const labHeading = "\n## Scratch volumes in an emulated machine\n"

// onlyRatios is what must be known of every figure.
const onlyRatios = "In an emulated machine: compare the columns, not with other tables"

// Markdown is the part of docs/benchmarks.md on the emulated machine.
func (r *labReport) Markdown() string {
	var b strings.Builder
	b.WriteString(labHeading + "\n**" + onlyRatios + ".**\n" + aboutLab + "\n" + r.Machine.Markdown())
	fmt.Fprintf(&b, "| load average | %s before, %s after |\n| duration | %s; %s |\n", r.LoadBefore, r.LoadAfter, r.Took.Round(time.Second), roundsOf(r.Kinds))
	for _, k := range r.Kinds {
		fmt.Fprintf(&b, "\n### Kind %s, emulated\n\n", k.Kind)
		for _, t := range k.tables() {
			b.WriteString(t.markdown() + "\n")
		}
		b.WriteString(aboutLabKind[k.Kind])
		if k.Repeated > 0 {
			b.WriteString("- " + k.repeated() + "\n")
		}
	}
	return b.String()
}

const aboutLab = `The kinds of volumes that need device-mapper or project quotas run under Debian's kernel in a machine that a program
emulates, processors included: all takes many times as long as on a real machine, and not all by the same factor: what a processor computes is slowed down more
than what a disk does. So no time here says what a volume costs; the ratios say, roughly, how much work is the driver's.

` + "`go run -tags pacific ./hack/bench -only lab -write`" + `, as root, measures this part alone, in about eight minutes, and leaves the rest of the page as it is.
`

var aboutLabKind = map[string]string{
	"lvm": `- Volumes of 256 MiB, on one disk: a volume is filled with zeros before it is used, for which the emulator sets space aside on the real disk.
- The floor of publish: lvcreate, zeros over all of the volume, mkfs.ext4 with the driver's options, the mount; of unpublish: the unmount and lvremove. The
  driver besides journals its steps (fsync), asks LVM what is free, whether the volume is there already and where it fits, tags it when it is whole, and
  looks for it again before it mounts it. So a publish starts LVM seven times where the floor starts it once, and an unpublish twice.
- Data: fio, libaio, O_DIRECT, a file in a published volume beside one on the ext4 of another disk, the system's, and one on a logical volume made by hand.
`,
	"xfs": `- Volumes of 1 GiB. The floor of publish: mkdir, the directory's project number, its limits, a bind mount; of unpublish: the unmount, the end of the limits and of the
  directory. The driver besides journals its steps (fsync), looks for a project number that nobody has, makes sure that the volume is mounted nowhere before
  it is destroyed, and waits until XFS has nothing of it any more.
- Data: as above, beside a file on the same XFS without a project, and one in a directory with a project quota, made by hand.
`,
}
