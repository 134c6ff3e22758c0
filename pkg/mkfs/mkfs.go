// Package mkfs makes and grows the file systems of volumes, with e2fsprogs and xfsprogs. The features are pinned to what every kernel from
// 5.4 on can mount: the tools' defaults follow the newest kernel, which a node need not have.
package mkfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/volume"
)

// The file system types.
const (
	Ext4 = "ext4"
	XFS  = "xfs"
)

const (
	// MinXFS is the least bytes that mkfs.xfs makes a file system of (xfsprogs 5.19 and later).
	MinXFS = 300 << 20
	// xfsFrom is the size from which XFS is the default: its tables are made as they are needed, those of ext4 at once.
	xfsFrom = 100 << 30
)

// Default is the type for a volume of that many bytes for which none was asked.
func Default(size int64) string {
	if size >= xfsFrom {
		return XFS
	}
	return Ext4
}

// Check refuses a type, or a size it can't have. "" stands for Default. The error wraps volume.ErrInvalid.
func Check(fsType string, size int64) error {
	switch fsType {
	case "", Ext4:
		return nil
	case XFS:
		if size < MinXFS {
			return fmt.Errorf("%w: xfs needs %d MiB and the volume has %d; ask for more, or for ext4", volume.ErrInvalid, MinXFS>>20, size>>20)
		}
		return nil
	}
	return fmt.Errorf("%w: file system type %q (allowed: %s, %s)", volume.ErrInvalid, fsType, Ext4, XFS)
}

// Make makes a file system on a device that reads as zeros from end to end and has size bytes. The options are the operator's, added
// after ours. It doesn't discard: the space of the device is promised.
func Make(ctx context.Context, fsType, device string, size int64, options []string) error {
	switch fsType {
	case Ext4:
		args, err := ext4(ctx, size)
		if err != nil {
			return err
		}
		return run(ctx, "mkfs.ext4", append(append(args, options...), device)...)
	case XFS:
		args := []string{
			"-q", "-f", "-K", "-s", "size=4096", "-b", "size=4096",
			"-m", "crc=1,finobt=1,rmapbt=0,reflink=1",
		}
		return run(ctx, "mkfs.xfs", append(append(args, options...), device)...)
	}
	return Check(fsType, size)
}

// features are those of Linux 4.x, all that ext4 gets from a new format.
const features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// ext4 is the arguments: no blocks reserved for root, and a journal that leaves nine tenths of a small volume to its user.
func ext4(ctx context.Context, size int64) ([]string, error) {
	extended := "nodiscard,lazy_itable_init=1,lazy_journal_init=1"
	prezeroed, err := knowsPrezeroed(ctx)
	if err != nil {
		return nil, err
	}
	if prezeroed {
		extended += ",assume_storage_prezeroed=1"
	}
	args := []string{"-q", "-F", "-b", "4096", "-I", "256", "-i", "16384", "-m", "0", "-O", features, "-E", extended}
	if size < 1<<30 {
		journal := 4
		if size >= 128<<20 {
			journal = 8
		}
		args = append(args, "-J", fmt.Sprintf("size=%d", journal))
	}
	return args, nil
}

var prezeroed struct {
	sync.Mutex
	asked, known bool
}

// knowsPrezeroed: assume_storage_prezeroed came with e2fsprogs 1.47.0, which also tells the kernel then that the tables of inodes need
// no zeroing (mke2fs(8)).
func knowsPrezeroed(ctx context.Context) (bool, error) {
	p := &prezeroed
	p.Lock()
	defer p.Unlock()
	if p.asked {
		return p.known, nil
	}
	out, err := output(ctx, "mkfs.ext4", "-V")
	if err != nil {
		return false, err
	}
	p.asked, p.known = true, atLeast147(out)
	return p.known, nil
}

// atLeast147 reads "mke2fs 1.47.0 (5-Feb-2023)".
func atLeast147(out string) bool {
	f := strings.Fields(out)
	if len(f) < 2 || f[0] != "mke2fs" {
		return false
	}
	major, rest, _ := strings.Cut(f[1], ".")
	minor, _, _ := strings.Cut(rest, ".")
	minor, _, _ = strings.Cut(minor, "-")
	a, aerr := strconv.Atoi(major)
	b, berr := strconv.Atoi(minor)
	return aerr == nil && berr == nil && (a > 1 || a == 1 && b >= 47)
}

// CheckGrow refuses a type that this process can't grow while it is mounted. The error wraps volume.ErrPrecondition.
func CheckGrow(fsType string) error {
	if fsType != Ext4 {
		return nil
	}
	// The kernel asks for it in ext4_resize_begin (fs/ext4/resize.c).
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&h, &caps[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if caps[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		return fmt.Errorf("%w: growing a mounted ext4 needs the capability SYS_RESOURCE, which this process doesn't have: give it to strata-node, or use xfs",
			volume.ErrPrecondition)
	}
	return nil
}

// Grow makes the file system, mounted at path from device, as large as the device is.
func Grow(ctx context.Context, fsType, device, path string) error {
	switch fsType {
	case Ext4:
		return run(ctx, "resize2fs", device)
	case XFS:
		return run(ctx, "xfs_growfs", "-d", path)
	}
	return Check(fsType, MinXFS)
}

// packageOf is the Debian package of each tool.
var packageOf = map[string]string{"mkfs.ext4": "e2fsprogs", "resize2fs": "e2fsprogs", "mkfs.xfs": "xfsprogs", "xfs_growfs": "xfsprogs"}

// dirs are where the tools lie; the environment has no say in what root executes.
var dirs = []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"}

func find(tool string) (string, error) {
	for _, d := range dirs {
		p := filepath.Join(d, tool)
		if s, err := os.Stat(p); err == nil && s.Mode().IsRegular() && s.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w: %s is not in %s: install %s", volume.ErrPrecondition, tool, strings.Join(dirs, ", "), packageOf[tool])
}

func run(ctx context.Context, tool string, args ...string) error {
	_, err := output(ctx, tool, args...)
	return err
}

// output runs a tool and returns what it said on both streams. It is killed when ctx ends.
func output(ctx context.Context, tool string, args ...string) (string, error) {
	path, err := find(tool)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	// MKE2FS_CONFIG: the distribution's defaults are not to change what is made.
	cmd.Env = []string{"PATH=" + strings.Join(dirs, ":"), "LC_ALL=C", "MKE2FS_CONFIG=/dev/null"}
	cmd.Dir = "/"
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	text := strings.TrimSpace(out.String())
	if err == nil {
		return text, nil
	}
	if cerr := ctx.Err(); cerr != nil {
		err = errors.Join(cerr, err)
	}
	const most = 2000
	if len(text) > most {
		text = "..." + text[len(text)-most:]
	}
	return text, fmt.Errorf("%s %s: %w: %s", path, strings.Join(args, " "), err, text)
}
