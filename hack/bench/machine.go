package main

// Where the figures were taken.

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is what the figures depend on, name and value.
type machine [][2]string

// describe says what all parts depend on, and in which versions of the tools.
func (b *bench) describe(more ...[2]string) machine {
	var system unix.Utsname
	_ = unix.Uname(&system)
	var memory unix.Sysinfo_t
	_ = unix.Sysinfo(&memory)
	all := machine{
		{"processors", fmt.Sprintf("%d × %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name"))},
		{"memory", fmt.Sprintf("%d GiB", (memory.Totalram*uint64(memory.Unit)+1<<29)>>30)},
		{"kernel", string(bytes.TrimRight(system.Release[:], "\x00"))},
		{"system", strings.Trim(fieldBy("/etc/os-release", "PRETTY_NAME", "="), `"`)},
	}
	all = append(all, more...)
	return append(all, [2]string{"fio", tool("fio", "--version")},
		[2]string{"Strata", tool("git", "-C", b.Path("."), "describe", "--tags", "--always", "--dirty")})
}

func (b *bench) describeCeph() machine {
	release, _, _ := strings.Cut(tool("ceph-fuse", "--version"), " (")
	return b.describe([2]string{"Ceph", release + "; 8 OSDs, 2 MDS, one manager and one monitor, all on this machine"})
}

func (b *bench) describeScratch() machine {
	return b.describe([2]string{"disks", fmt.Sprintf("ext4 for kind loop and btrfs (-m single -d single) for kind btrfs, each in a sparse file of %d GiB on %s",
		scratchDisk/gib, tool("findmnt", "--noheadings", "--output", "FSTYPE", "--target", b.Dir))})
}

// tool is what a command says of itself.
func tool(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

// field is the first value of a name in a file of lines "name: value".
func field(path, name string) string { return fieldBy(path, name, ":") }

func fieldBy(path, name, separator string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, separator); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// loadAverage is the mean number of processes that wanted to run in the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
