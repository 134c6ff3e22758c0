package btrfs

// Mounting a volume, and knowing it again.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	fs "github.com/strata-csi/strata/pkg/btrfs"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

const overlay = "overlay"

// source is what the mount table shows of a volume: no two volumes of a node share it, and only root can make a mount that has it.
func (d *Disk) source(name string) string { return "strata-scratch/" + d.fs.UUID() + "/" + name }

// attributes are the options that a mount can have without its file system's doing. All others are refused.
var attributes = map[string]int{
	"noatime": unix.MOUNT_ATTR_NOATIME, "relatime": unix.MOUNT_ATTR_RELATIME, "strictatime": unix.MOUNT_ATTR_STRICTATIME, "nodiratime": unix.MOUNT_ATTR_NODIRATIME,
	"noexec": unix.MOUNT_ATTR_NOEXEC, "exec": 0, "nosuid": 0, "nodev": 0, "nosymfollow": unix.MOUNT_ATTR_NOSYMFOLLOW, "nodiscard": 0,
}

// attributesOf translates mount options; later ones win, as with mount(8).
func attributesOf(m disk.Mount) (int, error) {
	attr := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	for _, o := range m.Options {
		a, ok := attributes[o]
		if !ok {
			return 0, fmt.Errorf("%w: mount option %q is none that a volume of kind btrfs can have (allowed: noatime, relatime, strictatime, nodiratime, exec, noexec, "+
				"nosymfollow); those of the file system are set where the disk is mounted", volume.ErrInvalid, o)
		}
		switch o {
		case "noatime", "relatime", "strictatime":
			attr &^= unix.MOUNT_ATTR__ATIME
		case "exec":
			attr &^= unix.MOUNT_ATTR_NOEXEC
		}
		attr |= a
	}
	if m.ReadOnly {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	return attr, nil
}

// Mount puts an overlay over the volume at the path. One that is mounted already is refused: a second overlay would take the first one's
// working directory from under it. See disk.Disk.
func (d *Disk) Mount(_ context.Context, name string, m disk.Mount) error {
	return d.mountAt(name, m, nil)
}

// MountWhole is Mount with a root directory as it is to be. See disk.WholeMounter.
func (d *Disk) MountWhole(_ context.Context, name string, m disk.Mount, root disk.Root) error {
	return d.mountAt(name, m, &root)
}

// mountAt leaves the root directory as it is without one (nil).
func (d *Disk) mountAt(name string, m disk.Mount, root *disk.Root) error {
	s, err := d.lookup(name)
	if err != nil {
		return err
	}
	defer s.Close()
	attr, err := attributesOf(m)
	if err != nil {
		return err
	}
	if err := mountpoint.CheckMountpoint(m.Path); err != nil {
		return err
	}
	if _, fresh := d.fresh.LoadAndDelete(name); !fresh {
		if err := d.unused(name); err != nil {
			return err
		}
	}
	fd, err := d.withRoom(s, func() (int, error) { return d.detached(s, name, attr, root) })
	if err != nil {
		return fmt.Errorf("mount scratch volume %s: %w", name, err)
	}
	defer unix.Close(fd)
	failpoint.Hit("scratch/btrfs/before-mount")
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, m.Path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount scratch volume %s at %s: %w", name, m.Path, os.NewSyscallError("move_mount", err))
	}
	failpoint.Hit("scratch/btrfs/after-mount")
	return nil
}

// room is what a full volume gets while it is mounted, for the overlay's own directories. It is no multiple of the grain of sizes, so
// that what a killed process left of it is seen.
const room = 512 << 10

// withRoom raises the limit for a moment in which nobody can reach the volume.
func (d *Disk) withRoom(s *fs.Subvolume, mount func() (int, error)) (int, error) {
	g := groupOf(s.ID)
	c, err := d.fs.Settled(g)
	if err != nil {
		return -1, err
	}
	size := c.Limit &^ (1<<20 - 1)
	if err := d.fs.Limit(g, size+room); err != nil {
		return -1, err
	}
	failpoint.Hit("scratch/btrfs/after-room")
	fd, err := mount()
	if lerr := d.fs.Limit(g, size); lerr != nil {
		if err == nil {
			err = os.NewSyscallError("close", unix.Close(fd))
		}
		return -1, errors.Join(err, lerr)
	}
	return fd, err
}

// detached makes the mount without a place. It is gone with its descriptor unless it is moved to one.
func (d *Disk) detached(s *fs.Subvolume, name string, attr int, root *disk.Root) (int, error) {
	// A volatile overlay takes no directory that was one's before. Nothing but the kernel writes there.
	dir, err := os.OpenRoot(reference(s.File))
	if err != nil {
		return -1, err
	}
	defer dir.Close()
	if err := dir.RemoveAll(workName); err != nil {
		return -1, err
	}
	failpoint.Hit("scratch/btrfs/before-work")
	if err := dir.Mkdir(workName, 0o700); err != nil {
		return -1, err
	}
	failpoint.Hit("scratch/btrfs/after-work")
	ctx, err := unix.Fsopen(overlay, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen overlay", err)
	}
	defer unix.Close(ctx)
	set := [][2]string{{"source", d.source(name)}}
	var held []*os.File
	defer func() {
		for _, f := range held {
			_ = f.Close() // only looked up with
		}
	}()
	for option, dir := range map[string]string{"lowerdir": lowerName, "upperdir": dataName, "workdir": workName} {
		f, err := fs.OpenBeneath(s.File, dir)
		if err != nil {
			return -1, err
		}
		held = append(held, f)
		if dir == dataName && root != nil {
			if err := root.ApplyTo(f); err != nil {
				return -1, err
			}
		}
		// Through the descriptor: no character of the path is one of the option's own, and no link is followed.
		set = append(set, [2]string{option, reference(f)})
	}
	// Nothing is below, so nothing is ever copied up: the features for that only cost.
	set = append(set, [2]string{"index", "off"}, [2]string{"metacopy", "off"}, [2]string{"redirect_dir", "nofollow"}, [2]string{"xino", "off"})
	for _, o := range set {
		if err := unix.FsconfigSetString(ctx, o[0], o[1]); err != nil {
			return -1, said(ctx, "fsconfig "+o[0], err)
		}
	}
	if err := unix.FsconfigSetFlag(ctx, "volatile"); err != nil {
		return -1, said(ctx, "fsconfig volatile", err)
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, said(ctx, "fsconfig create", err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, said(ctx, "fsmount", err)
	}
	return fd, nil
}

// reference names an open file so that the kernel finds it again.
func reference(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// said adds what the kernel has to say of a mount that failed (fsopen(2)).
func said(ctx int, call string, err error) error {
	b := make([]byte, 1024)
	var lines []string
	for range 16 {
		n, rerr := unix.Read(ctx, b)
		if rerr != nil || n <= 0 {
			break
		}
		lines = append(lines, strings.TrimSpace(string(b[:n])))
	}
	err = os.NewSyscallError(call, err)
	if len(lines) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(lines, "; "))
}

// Mounted reads the mount table and touches no file system. See disk.Disk.
func (d *Disk) Mounted(_ context.Context, name, path string) error {
	if err := disk.CheckName(name); err != nil {
		return err
	}
	m, ok, err := mountpoint.Find(path)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	}
	if m.FSType != overlay || m.Source != d.source(name) || m.Root != "/" {
		return fmt.Errorf("%w: %s of type %s is mounted at %s, not scratch volume %s", volume.ErrExists, m.Source, m.FSType, path, name)
	}
	below, err := d.mount()
	if err != nil {
		return err
	}
	// The kernel turns a file system read-only that it can't write to any more.
	if slices.Contains(below.SuperOptions, "ro") {
		return fmt.Errorf("%w: the file system at %s, on which scratch volume %s lies, is read-only; see the kernel log", volume.ErrUnavailable, below.Path, name)
	}
	return nil
}

// unused refuses to go on while the volume is mounted somewhere. The kernel would not: a subvolume can be destroyed below an overlay.
func (d *Disk) unused(name string) error {
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	var at []string
	for _, m := range table {
		if m.FSType == overlay && m.Source == d.source(name) {
			at = append(at, m.Path)
		}
	}
	if len(at) > 0 {
		return fmt.Errorf("%w: scratch volume %s is mounted at %s; unmount it first", volume.ErrUnavailable, name, strings.Join(at, ", "))
	}
	return nil
}
