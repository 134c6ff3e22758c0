package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// Usage is what the volume's file system says, or the size of a block volume. See disk.Disk.
func (d *Disk) Usage(ctx context.Context, name, path string) (volume.Usage, error) {
	image, err := d.open(name)
	if err != nil {
		return volume.Usage{}, err
	}
	defer image.Close()
	if path == "" {
		s, err := image.Stat()
		if err != nil {
			return volume.Usage{}, err
		}
		return volume.Usage{TotalBytes: s.Size()}, nil
	}
	if _, err := d.mounted(name, path); err != nil {
		return volume.Usage{}, err
	}
	s, err := d.prober.Probe(ctx, path)
	if err != nil {
		return volume.Usage{}, fmt.Errorf("%w: %w", volume.ErrUnavailable, err)
	}
	return volume.Usage{
		TotalBytes: int64(s.TotalBytes), UsedBytes: int64(s.UsedBytes()), AvailableBytes: int64(s.AvailableBytes),
		TotalInodes: int64(s.TotalInodes), UsedInodes: int64(s.UsedInodes()), AvailableInodes: int64(s.FreeInodes),
	}, nil
}

// Health looks at the disk, the image, the device and the file system. See disk.Disk.
func (d *Disk) Health(ctx context.Context, name, path string) ([]volume.Condition, error) {
	if err := disk.CheckName(name); err != nil {
		return nil, err
	}
	var found []volume.Condition
	say := func(s volume.Severity, reason, format string, a ...any) {
		found = append(found, volume.Condition{Severity: s, Reason: reason, Message: fmt.Sprintf(format, a...)})
	}
	d.healthOfDisk(say)
	image, err := d.open(name)
	if errors.Is(err, volume.ErrNotFound) {
		say(volume.DataLoss, "ImageMissing", "the image of scratch volume %s is gone from %s: the volume can't be trusted, delete the pod", name, d.dir)
		return found, nil
	}
	if err != nil {
		say(volume.Inaccessible, "ImageUnreadable", "%v", err)
		return found, nil
	}
	defer image.Close()
	if err := healthOfImage(image, say); err != nil {
		return nil, err
	}
	device, ok, err := deviceOf(image)
	switch {
	case err != nil:
		say(volume.Inaccessible, "DeviceUnusable", "%v", err)
	case !ok:
		say(volume.Inaccessible, "DeviceMissing", "scratch volume %s has no loop device: somebody detached it; delete the pod", name)
	case !device.DirectIO:
		say(volume.Degraded, "BufferedIO", "the file system of %s doesn't do direct I/O with blocks of 4096 bytes: %s goes through the node's page cache twice, slower", d.path, device.Path())
	}
	if path != "" {
		d.healthOfMount(ctx, name, path, say)
	}
	return found, nil
}

type sayer func(s volume.Severity, reason, format string, a ...any)

func (d *Disk) healthOfDisk(say sayer) {
	s, err := d.statfs()
	switch {
	case err != nil:
		say(volume.Inaccessible, "DiskUnreadable", "scratch directory: %v", err)
		return
	case s.Flags&unix.ST_RDONLY != 0:
		say(volume.Inaccessible, "DiskReadOnly", "the file system of %s is read-only: see the kernel's log, repair or replace the disk", d.path)
	}
	var st unix.Stat_t
	if unix.Stat(d.path, &st) == nil {
		if n := errorCount(int(unix.Major(st.Dev)), int(unix.Minor(st.Dev))); n > 0 {
			say(volume.Degraded, "DiskErrors", "the file system of %s has found %d errors in itself: check it with e2fsck, or replace the disk", d.path, n)
		}
	}
}

func healthOfImage(image *os.File, say sayer) error {
	var s unix.Stat_t
	if err := unix.Fstat(int(image.Fd()), &s); err != nil {
		return &os.PathError{Op: "stat", Path: image.Name(), Err: err}
	}
	if s.Blocks*512 < s.Size {
		say(volume.Degraded, "SpaceNotReserved", "of %d bytes of %s %d have no space set aside: keep other files off the disk", s.Size, image.Name(), s.Size-s.Blocks*512)
	}
	return nil
}

func (d *Disk) healthOfMount(ctx context.Context, name, path string, say sayer) {
	m, err := d.mounted(name, path)
	if err != nil {
		say(volume.Inaccessible, "NotMounted", "%v", err)
		return
	}
	if _, err := d.prober.Probe(ctx, path); err != nil {
		say(volume.Inaccessible, "NotAnswering", "scratch volume %s: %v: delete the pod", name, err)
		return
	}
	if err := readable(ctx, path); err != nil {
		say(volume.Inaccessible, "NotAnswering", "scratch volume %s can't be read: %v: see the kernel's log, and delete the pod", name, err)
	}
	// The file system itself became read-only, not only this mount of it.
	stopped := func(o string) bool { return o == "emergency_ro" || o == "shutdown" }
	if !slices.Contains(m.Options, "ro") && slices.Contains(m.SuperOptions, "ro") || slices.ContainsFunc(m.SuperOptions, stopped) {
		say(volume.Inaccessible, "ReadOnly", "the file system of scratch volume %s stopped writing after an error: see the kernel's log, and delete the pod", name)
	}
	if m.FSType == mkfs.Ext4 {
		if n := errorCount(m.Major, m.Minor); n > 0 {
			say(volume.Degraded, "FileSystemErrors", "the file system of scratch volume %s has found %d errors in itself: some data may be wrong; delete the pod", name, n)
		}
	}
}

// readable reads the directory, which a file system that has been shut down refuses although it still answers statfs.
func readable(ctx context.Context, path string) error {
	result := make(chan error, 1)
	go func() {
		dir, err := os.Open(path)
		if err == nil {
			if _, err = dir.Readdirnames(1); err != nil && err.Error() == "EOF" {
				err = nil
			}
			err = errors.Join(err, dir.Close())
		}
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", mountpoint.ErrProbeHung, ctx.Err())
	}
}

// errorCount is what an ext4 has counted (Documentation/ABI/testing/sysfs-fs-ext4, errors_count); 0 for anything else.
func errorCount(major, minor int) int {
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor))
	if err != nil {
		return 0
	}
	b, err := os.ReadFile(filepath.Join("/sys/fs/ext4", filepath.Base(link), "errors_count"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}
