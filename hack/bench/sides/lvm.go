package sides

// The floor of kind lvm.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mkfs"
)

// withoutUdev is the least that LVM must be told where no udev runs, as in the emulated machine and in a container; it makes no backups of its metadata either.
const withoutUdev = "activation{udev_sync=0 udev_rules=0 monitoring=0} devices{obtain_device_list_from_udev=0} backup{backup=0 archive=0}"

// logical: a logical volume, filled with zeros as it may hold another's data, the file system, the mount; back: the unmount and the end of the volume.
type logical struct {
	group, targets string
	size           int64
}

// NewLVM is the floor of kind lvm, with volumes of size bytes in a volume group, mounted below targets.
func NewLVM(group, targets string, size int64) (Side, error) {
	return &logical{group: group, targets: targets, size: size}, nil
}

func (f *logical) volume(i int) string { return fmt.Sprint("bare", i) }

func lvm(ctx context.Context, command string, args ...string) error {
	cmd := exec.CommandContext(ctx, "lvm", append([]string{command, "--config", withoutUdev, "-q", "-y"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lvm %s: %w: %s", command, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (f *logical) Publish(ctx context.Context, i int) error {
	target, err := bareTarget(f.targets, i)
	if err != nil {
		return err
	}
	if err := lvm(ctx, "lvcreate", "-Zn", "-Wn", "-L", fmt.Sprintf("%db", f.size), "-n", f.volume(i), f.group); err != nil {
		return err
	}
	device := filepath.Join("/dev/mapper", f.group+"-"+f.volume(i))
	if err := fillWithZeros(device, f.size); err != nil {
		return err
	}
	if err := mkfs.Make(ctx, mkfs.Ext4, device, f.size, nil); err != nil { // with the driver's options
		return err
	}
	return os.NewSyscallError("mount", unix.Mount(device, target, mkfs.Ext4, unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID, ""))
}

// fillWithZeros lets the kernel do it, with the disk's own command.
func fillWithZeros(device string, size int64) (err error) {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	extent := [2]uint64{0, uint64(size)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&extent))); errno != 0 {
		return os.NewSyscallError("BLKZEROOUT", errno)
	}
	return nil
}

func (f *logical) Unpublish(ctx context.Context, i int) error {
	target := BareTarget(f.targets, i)
	if err := unix.Unmount(target, 0); err != nil {
		return os.NewSyscallError("unmount "+target, err)
	}
	return lvm(ctx, "lvremove", "-f", f.group+"/"+f.volume(i))
}

func (f *logical) Close() error { return nil }
