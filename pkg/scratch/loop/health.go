package loop

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/localfs"
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
	return d.watch.Usage(ctx, path)
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
	if path == "" {
		return found, nil
	}
	m, err := d.mounted(name, path)
	if err != nil {
		say(volume.Inaccessible, "NotMounted", "%v", err)
		return found, nil
	}
	return append(found, d.watch.Health(ctx, name, m)...), nil
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
		if n := localfs.ErrorCount(int(unix.Major(st.Dev)), int(unix.Minor(st.Dev))); n > 0 {
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
