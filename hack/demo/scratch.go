package main

// Volumes of pods on a local disk.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/hack/stack"
)

const diskSize = 4 * gib

// scratch shows a pod's own volume on a disk of each sort that every kernel can have.
func (d *demo) scratch(ctx context.Context) error {
	for _, s := range []struct{ kind, fsType string }{{"loop", "ext4"}, {"btrfs", "btrfs"}} {
		if err := d.scratchOn(ctx, s.kind, s.fsType); err != nil {
			return fmt.Errorf("scratch, %s: %w", s.kind, err)
		}
	}
	return nil
}

func (d *demo) scratchOn(ctx context.Context, kind, fsType string) error {
	disk, err := d.MakeDisk(ctx, "disk-"+kind, fsType, diskSize)
	if err != nil {
		return err
	}
	n, err := d.StartScratchNode(ctx, "node-"+kind, kind, disk)
	if err != nil {
		if kind == "loop" {
			return err
		}
		d.did("scratch, "+kind, "this machine can't: %v", err)
		return nil
	}
	row := func(format string, args ...any) { d.did("scratch, "+kind, format, args...) }
	free, err := freeOn(disk)
	if err != nil {
		return err
	}
	var took [2]time.Duration
	for i, pod := range []string{"pod-a", "pod-b"} {
		start := time.Now()
		if err := n.PublishInline(ctx, pod, "1Gi"); err != nil {
			return err
		}
		took[i] = time.Since(start)
	}
	row("1 GiB for each of two pods on a disk of %d GiB (%s), ready in %s and %s", diskSize/gib, fsType, shown(took[0]), shown(took[1]))

	a, b := n.InlineTarget("pod-a"), n.InlineTarget("pod-b")
	if err := d.fillUp(ctx, n, a, row); err != nil {
		return err
	}
	if err := survives(ctx, n, b); err != nil {
		return err
	}
	row("strata-node killed with SIGKILL: both volumes stayed, and the second, beside the full one, was written on")

	start := time.Now()
	for _, pod := range []string{"pod-a", "pod-b"} {
		if err := n.UnpublishInline(ctx, pod); err != nil {
			return err
		}
	}
	gone := time.Since(start)
	left, err := n.Left()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("left over: %s", strings.Join(left, ", "))
	}
	after, err := freeOn(disk)
	if err != nil {
		return err
	}
	if free-after > 64*mib { // a file system's own tables may have grown
		return fmt.Errorf("%d MiB of the disk were free before and %d MiB are after", free/mib, after/mib)
	}
	row("both pods gone in %s: %d MiB of the disk are free, %d before; no mount, device, file or record is left", shown(gone), after/mib, free/mib)
	return nil
}

// fillUp writes until the volume takes no more, and compares what the driver says of it.
func (d *demo) fillUp(ctx context.Context, n *stack.ScratchNode, path string, row func(string, ...any)) error {
	written, speed, full := fill(filepath.Join(path, "checkpoint"), 2*gib)
	if !errors.Is(full, unix.ENOSPC) && !errors.Is(full, unix.EDQUOT) {
		return fmt.Errorf("%d MiB were written into a volume of 1024 MiB: %v", written/mib, full)
	}
	if written > gib {
		return fmt.Errorf("%d MiB went into a volume of 1024 MiB", written/mib)
	}
	stats, err := n.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: n.InlineID("pod-a"), VolumePath: path})
	if err != nil {
		return err
	}
	for _, u := range stats.GetUsage() {
		if u.GetUnit() == csi.VolumeUsage_BYTES {
			row("%d MiB written at %.0f MB/s, then %q; the driver says %d of %d MiB used", written/mib, speed, cause(full),
				u.GetUsed()/mib, u.GetTotal()/mib)
		}
	}
	return nil
}

// fill writes until an error and returns how much went in, and at how many MB/s until it was on the disk.
func fill(path string, limit int64) (written int64, speed float64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	block := []byte(strings.Repeat("checkpoint ", int(mib)/11+1))[:mib]
	start := time.Now()
	for err == nil && written < limit {
		var n int
		n, err = f.Write(block)
		written += int64(n)
	}
	if err := f.Sync(); err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return written, 0, err
	}
	return written, rate(written, time.Since(start)), err
}

func cause(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// survives kills strata-node while a file is written.
func survives(ctx context.Context, n *stack.ScratchNode, path string) error {
	f, err := os.Create(filepath.Join(path, "log"))
	if err != nil {
		return err
	}
	defer f.Close()
	n.Kill()
	for _, step := range []func() error{
		func() error { _, err := f.Write(make([]byte, 64*mib)); return err },
		f.Sync,
		func() error { return n.Start(ctx) },
		func() error { return n.PublishInline(ctx, "pod-b", "1Gi") }, // kubelet asks again
	} {
		if err := step(); err != nil {
			return fmt.Errorf("after the death of strata-node: %w", err)
		}
	}
	if info, err := os.Stat(filepath.Join(path, "log")); err != nil {
		return err
	} else if info.Size() != 64*mib {
		return fmt.Errorf("%d MiB are there of the 64 that were written while strata-node was dead", info.Size()/mib)
	}
	return nil
}

// freeOn is how many bytes of a disk are free, once what was freed is.
func freeOn(disk string) (int64, error) {
	dir, err := os.Open(disk)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return 0, os.NewSyscallError("syncfs", err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return int64(st.Bfree) * st.Bsize, nil
}

func shown(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
