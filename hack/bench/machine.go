package main

// Where the figures were taken.

import (
	"fmt"
	"strings"

	"github.com/strata-csi/strata/hack/benchmarks"
)

// describe says what all parts depend on, and in which versions of the tools.
func (b *bench) describe(more ...[2]string) benchmarks.Machine {
	return benchmarks.Describe(b.Path("."), append(more, [2]string{"fio", benchmarks.Tool("fio", "--version")})...)
}

func (b *bench) describeCeph() benchmarks.Machine {
	release, _, _ := strings.Cut(benchmarks.Tool("ceph-fuse", "--version"), " (")
	return b.describe([2]string{"Ceph", release + "; 8 OSDs, 2 MDS, one manager and one monitor, all on this machine"})
}

func (b *bench) describeScratch() benchmarks.Machine {
	return b.describe([2]string{"disks", fmt.Sprintf("ext4 for kind loop and btrfs (-m single -d single) for kind btrfs, each in a sparse file of %d GiB on %s",
		scratchDisk/gib, benchmarks.Tool("findmnt", "--noheadings", "--output", "FSTYPE", "--target", b.Dir))})
}

func (b *bench) describeLab(m *labMachine) benchmarks.Machine {
	emulator, _, _ := strings.Cut(benchmarks.Tool("qemu-system-x86_64", "--version"), " (")
	return b.describe([2]string{"emulated machine", fmt.Sprintf("%s, in software (tcg): 2 processors, %d MiB of memory, NVMe disks in sparse files on %s", emulator, labMemory,
		benchmarks.Tool("findmnt", "--noheadings", "--output", "FSTYPE", "--target", b.Dir))}, [2]string{"its kernel", m.Kernel})
}

func (b *bench) describeCold() benchmarks.Machine {
	first := func(name string) string {
		line, _, _ := strings.Cut(benchmarks.Tool(name, "--version"), "\n")
		return line
	}
	return b.describe([2]string{"rclone", first("rclone")}, [2]string{"s3fs", first("s3fs")})
}
