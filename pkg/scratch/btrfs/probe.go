package btrfs

// Finding out whether a directory can hold volumes: by making one, filling it, and trying to leave it.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	fs "github.com/strata-csi/strata/pkg/btrfs"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

const (
	probeName = "probe" // no name that pkg/scratch makes is so short
	probeSize = disk.MinSize
	probeMost = 32 << 20 // written before the limit is called missing
)

func refuse(format string, a ...any) error {
	return &disk.Refused{Kind: disk.Btrfs, Reason: fmt.Sprintf(format, a...)}
}

// Probe opens the directory at path as a disk if volumes with a hard limit can be made there. It turns simple quotas on where none are, and
// needs 32 MiB. The error is a *disk.Refused.
func Probe(ctx context.Context, path string) (*Disk, error) {
	if err := prepare(ctx, path); err != nil {
		return nil, err
	}
	d, err := open(path)
	if err != nil {
		return nil, refuse("%v", err)
	}
	if err := d.try(ctx); err != nil {
		return nil, errors.Join(refuse("%v", err), d.Close())
	}
	if _, err := d.List(ctx); err != nil { // with what is left of groups
		return nil, errors.Join(refuse("%v", err), d.Close())
	}
	d.advise(ctx)
	return d, nil
}

// prepare looks at what can be seen without making anything, and turns simple quotas on.
func prepare(ctx context.Context, path string) (err error) {
	f, err := fs.Open(path)
	if errors.Is(err, fs.ErrNotBtrfs) {
		return refuse("%s isn't on btrfs", path)
	}
	if err != nil {
		return refuse("%v", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if readOnly, err := f.ReadOnly(); err != nil || readOnly {
		return refuse("the file system at %s is mounted read-only, or became so after an error; see the kernel log %s", path, errorText(err))
	}
	mode, err := f.QuotaMode()
	if err != nil {
		return refuse("%v", err)
	}
	switch mode {
	case fs.QuotaSimple:
	case fs.QuotaOff:
		if err := f.EnableSimpleQuota(); err != nil {
			return refuse("simple quotas can't be turned on at %s: %v", path, err)
		}
		klog.FromContext(ctx).Info("Turned on btrfs simple quotas", "path", path, "uuid", f.UUID())
	default:
		return refuse("%s has quotas of the kind %q, under which a pod leaves its limit with a nested subvolume; if nobody needs them: btrfs quota disable %s", path, mode, path)
	}
	if override, err := f.QuotaOverride(); err != nil || override {
		return refuse("limits don't hold a process with CAP_SYS_RESOURCE; turn that off: echo 0 > /sys/fs/btrfs/%s/quota_override %s", f.UUID(), errorText(err))
	}
	return checkForeign(f, path)
}

// checkForeign refuses a file system whose groups are somebody else's: after home is made, those of our level are ours.
func checkForeign(f *fs.FS, path string) error {
	_, err := os.Lstat(filepath.Join(path, homeName))
	if err == nil {
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return refuse("%v", err)
	}
	groups, err := f.Groups(level)
	if err != nil {
		return refuse("%v", err)
	}
	if len(groups) > 0 {
		return refuse("%s has quota groups of level %d, such as %s, that are somebody else's or of another scratch disk on the same file system; give scratch volumes "+
			"a file system of their own, or remove them: btrfs qgroup destroy %s %s", path, level, groups[0], groups[0], path)
	}
	return nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return "(" + err.Error() + ")"
}

// try lives the life of a volume.
func (d *Disk) try(ctx context.Context) (err error) {
	if err := d.Create(ctx, disk.Spec{Name: probeName, Size: probeSize}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Destroy(context.WithoutCancel(ctx), probeName, disk.WipeNone)) }()
	s, err := d.lookup(probeName)
	if err != nil {
		return err
	}
	defer s.Close()
	fd, err := d.detached(s, probeName, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, nil)
	if err != nil {
		return err
	}
	root := os.NewFile(uintptr(fd), "the volume "+probeName)
	defer root.Close()
	if err := d.exceed(root); err != nil {
		return err
	}
	return d.leave(root)
}

// exceed writes until the limit stops it.
func (d *Disk) exceed(root *os.File) error {
	fd, err := unix.Openat(int(root.Fd()), "fill", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return os.NewSyscallError("create a file in the volume", err)
	}
	f := os.NewFile(uintptr(fd), "fill")
	defer f.Close()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i*i>>8 ^ i) // nothing that compression makes small enough to pass
	}
	for written := 0; written < probeMost; written += len(block) {
		_, err := f.Write(block)
		if errors.Is(err, unix.EDQUOT) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("a volume of %d bytes took %d: its limit doesn't hold", probeSize, probeMost)
}

// leave tries what a pod would: see the package.
func (d *Disk) leave(root *os.File) error {
	fd, err := unix.Openat(int(root.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open the volume", err)
	}
	dir := os.NewFile(uintptr(fd), "the volume's directory")
	defer dir.Close()
	if err := d.fs.Create(dir, "nested"); !errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("a subvolume can be asked for in a volume, outside of its limit (%s)", errorText(err))
	}
	return nil
}

// advise tells the operator what could be better.
func (d *Disk) advise(ctx context.Context) {
	s, err := d.fs.Space()
	if err == nil && s.MetadataCopies > s.DataCopies {
		klog.FromContext(ctx).Info("The btrfs file system stores metadata more often than data, and room for all of it is set aside: with one profile for both the disk holds more volumes",
			"path", d.path, "advice", "btrfs balance start -f -mconvert=single "+d.path)
	}
}
