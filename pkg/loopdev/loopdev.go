// Package loopdev makes block devices of files with the kernel's loop driver (drivers/block/loop.c, loop(4)).
//
// Two loop devices over one file each have a cache of their own, and two file systems mounted from them destroy each other. The kernel
// allows it; Attach doesn't: it takes a lock (flock(2)) on the open file that it hands to the kernel, so that the device itself
// holds the lock for as long as it is attached, whatever becomes of the process.
package loopdev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BlockSize is the logical block size of every device, bytes: direct I/O to a disk with blocks of 4096 bytes needs it.
const BlockSize = 4096

// Major is the device number of all loop devices (Documentation/admin-guide/devices.txt).
const Major = 7

var (
	// ErrAttached: a loop device over the file is there already.
	ErrAttached = errors.New("the file has a loop device")
	// ErrBusy: the device is open or mounted.
	ErrBusy = errors.New("the loop device is in use")
)

// Device is an attached loop device.
type Device struct {
	Number    int
	DirectIO  bool
	Autoclear bool
	// The file it was seen over. A device that is gone gives its number to the next.
	dev, inode uint64
}

// Path is the device node.
func (d Device) Path() string { return fmt.Sprintf("/dev/loop%d", d.Number) }

func (d Device) sys(name string) string { return fmt.Sprintf("/sys/block/loop%d/%s", d.Number, name) }

// Options of Attach.
type Options struct {
	// Autoclear: the device goes away by itself with the last that has it open or mounted, the process that attached it included.
	Autoclear bool
}

// pause is between two looks at what another process is doing.
const pause = 10 * time.Millisecond

func wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// Attach makes a device of all of the file, which is at path and open for reading and writing, and returns it open. Direct I/O is
// asked for; where the file system has none the device works without, and says so. ErrAttached: it has one, see Find.
// The file may be closed afterwards.
func Attach(ctx context.Context, file *os.File, o Options) (Device, *os.File, error) {
	if err := lock(ctx, file); err != nil {
		return Device{}, nil, fmt.Errorf("attach %s: %w", file.Name(), err)
	}
	d, open, err := attach(ctx, file, o)
	if err != nil {
		return Device{}, nil, errors.Join(fmt.Errorf("attach %s: %w", file.Name(), err), unix.Flock(int(file.Fd()), unix.LOCK_UN))
	}
	return d, open, nil
}

// lock waits for a device that is just going away, which holds the lock until it is gone.
func lock(ctx context.Context, file *os.File) error {
	for {
		found, err := Find(file)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return fmt.Errorf("%w: %s", ErrAttached, found[0].Path())
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
		if werr := wait(ctx); werr != nil {
			return fmt.Errorf("another process holds the lock on it: %w", werr)
		}
	}
	// One may have been attached by somebody who takes no lock, or by another of us between the look and the lock.
	found, err := Find(file)
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("%w: %s", ErrAttached, found[0].Path())
	}
	if err != nil {
		return errors.Join(err, unix.Flock(int(file.Fd()), unix.LOCK_UN))
	}
	return nil
}

func attach(ctx context.Context, file *os.File, o Options) (Device, *os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return Device{}, nil, fmt.Errorf("the kernel has no loop devices for this process (module loop; /dev/loop-control in the container): %w", err)
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(file.Fd()), Size: BlockSize}
	config.Info.Flags = unix.LO_FLAGS_DIRECT_IO
	if o.Autoclear {
		config.Info.Flags |= unix.LO_FLAGS_AUTOCLEAR
	}
	copy(config.Info.File_name[:unix.LO_NAME_SIZE-1], filepath.Base(file.Name()))
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return Device{}, nil, os.NewSyscallError("LOOP_CTL_GET_FREE", err)
		}
		d := Device{Number: n}
		node, err := d.open(os.O_RDWR)
		if err == nil {
			if err = unix.IoctlLoopConfigure(int(node.Fd()), &config); err == nil {
				return d.look(node)
			}
			_ = node.Close()
			err = os.NewSyscallError("LOOP_CONFIGURE "+d.Path(), err)
		}
		// Another process took the free one first, or it is just being given back.
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENXIO) {
			return Device{}, nil, err
		}
		if werr := wait(ctx); werr != nil {
			return Device{}, nil, errors.Join(err, werr)
		}
	}
}

func (d Device) look(node *os.File) (Device, *os.File, error) {
	s, err := unix.IoctlLoopGetStatus64(int(node.Fd()))
	if err != nil {
		return Device{}, nil, errors.Join(os.NewSyscallError("LOOP_GET_STATUS64 "+d.Path(), err), node.Close())
	}
	d.see(s)
	return d, node, nil
}

func (d *Device) see(s *unix.LoopInfo64) {
	d.DirectIO = s.Flags&unix.LO_FLAGS_DIRECT_IO != 0
	d.Autoclear = s.Flags&unix.LO_FLAGS_AUTOCLEAR != 0
	d.dev, d.inode = s.Device, s.Inode
}

// is says whether a device of the number with that status is the one that was seen.
func (d Device) is(s *unix.LoopInfo64) bool { return s.Device == d.dev && s.Inode == d.inode }

// open opens the device's node, and makes it where a container's /dev doesn't follow the kernel's.
func (d Device) open(flags int) (*os.File, error) {
	f, err := os.OpenFile(d.Path(), flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		if err := unix.Mknod(d.Path(), unix.S_IFBLK|0o600, int(unix.Mkdev(Major, d.minor()))); err != nil && err != unix.EEXIST {
			return nil, &os.PathError{Op: "mknod", Path: d.Path(), Err: err}
		}
		f, err = os.OpenFile(d.Path(), flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, err
	}
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return nil, errors.Join(&os.PathError{Op: "stat", Path: d.Path(), Err: err}, f.Close())
	}
	if s.Mode&unix.S_IFMT != unix.S_IFBLK || s.Rdev != unix.Mkdev(Major, d.minor()) {
		return nil, errors.Join(fmt.Errorf("%s is not loop device %d: remove it, or give the container the host's /dev", d.Path(), d.Number), f.Close())
	}
	return f, nil
}

// minor is the device's; the module's parameter max_part makes it differ from the number.
func (d Device) minor() uint32 {
	b, err := os.ReadFile(d.sys("dev"))
	if err == nil {
		if _, text, ok := strings.Cut(strings.TrimSpace(string(b)), ":"); ok {
			if n, err := strconv.ParseUint(text, 10, 32); err == nil {
				return uint32(n)
			}
		}
	}
	return uint32(d.Number)
}

// Open opens an attached device. For a device with Autoclear that keeps it.
func (d Device) Open() (*os.File, error) { return d.open(os.O_RDWR) }

// Size is the device's, in bytes.
func (d Device) Size() (int64, error) {
	f, err := d.open(os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Seek(0, io.SeekEnd)
}

// FollowFile makes the device as large as its file has become.
func (d Device) FollowFile() error {
	f, err := d.open(os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("LOOP_SET_CAPACITY "+d.Path(), unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY, 0))
}

// RefuseDiscard makes the device answer that it can't discard. Otherwise fstrim would punch holes into the file, and so would
// requests to write zeros, which the driver refuses together with discards (Documentation/ABI/stable/sysfs-block, discard_max_bytes;
// lo_fallocate in drivers/block/loop.c since Linux 5.19).
func (d Device) RefuseDiscard() error {
	if err := os.WriteFile(d.sys("queue/discard_max_bytes"), []byte("0"), 0); err != nil {
		return fmt.Errorf("%s would give its file's space back (is /sys read-only in the container?): %w", d.Path(), err)
	}
	return nil
}

// patience is how long Detach gives a device to go: programs that look at every new device, and children of this process that have yet to
// begin their own, hold one for moments, and on a busy machine moments are long.
const patience = 5 * time.Second

// Detach takes the device away; one that is gone is no error, and the number's next owner is left alone. ErrBusy: somebody has it open or
// mounted; the kernel takes it away when they are done, unless Open is called before.
func (d Device) Detach(ctx context.Context) error {
	gone, err := d.clear()
	if gone || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		attached, now, err := d.status()
		if err != nil || !attached || !d.is(now) {
			return err
		}
		if err := wait(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.Path(), ErrBusy)
		}
	}
}

// clear tells the kernel to take the device away, if it is still there: gone says that it isn't.
func (d Device) clear() (gone bool, err error) {
	f, err := d.open(os.O_RDWR)
	if errors.Is(err, unix.ENXIO) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	now, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	switch {
	case err == unix.ENXIO, err == nil && !d.is(now):
		return true, nil
	case err != nil:
		return false, os.NewSyscallError("LOOP_GET_STATUS64 "+d.Path(), err)
	}
	// While it is open it can't become another's.
	switch err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err {
	case nil:
		return false, nil
	case unix.ENXIO: // somebody else took it away
		return true, nil
	case unix.EBUSY:
		return false, fmt.Errorf("%s: %w", d.Path(), ErrBusy)
	default:
		return false, os.NewSyscallError("LOOP_CLR_FD "+d.Path(), err)
	}
}
