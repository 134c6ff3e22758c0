package stack

// Disks of tier scratch: file systems in files.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/loopdev"
)

// mkfs makes the file system of a disk: nothing is reserved or stored twice, and a small disk has data and metadata in chunks of their own,
// as a large one does.
var mkfs = map[string][]string{
	"ext4":  {"mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"},
	"btrfs": {"mkfs.btrfs", "-q", "-K", "-m", "single", "-d", "single"},
}

// MakeDisk makes a file system, ext4 or btrfs, in a sparse file behind a loop device with direct I/O, and mounts it. The device goes with
// its mount, and with this process while there is none.
func (s *Stack) MakeDisk(ctx context.Context, name, fsType string, size int64) (path string, err error) {
	path = filepath.Join(s.Dir, name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", err
	}
	image, err := os.OpenFile(path+".img", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	if err := image.Truncate(size); err != nil {
		return "", err
	}
	device, node, err := loopdev.Attach(ctx, image, loopdev.Options{Autoclear: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	tool := append(slices.Clone(mkfs[fsType]), device.Path())
	if out, err := exec.CommandContext(ctx, tool[0], tool[1:]...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(tool, " "), err, out)
	}
	if err := unix.Mount(device.Path(), path, fsType, unix.MS_NOATIME, ""); err != nil {
		return "", fmt.Errorf("mount %s at %s: %w", device.Path(), path, err)
	}
	return path, nil
}

// devicesBelow are the loop devices over files below a directory, by what they lie on.
func devicesBelow(dir string) (map[string]int, error) {
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, e := range entries {
		number, err := strconv.Atoi(strings.TrimPrefix(e.Name(), "loop"))
		if err != nil {
			continue
		}
		if file := backing(number); strings.HasPrefix(file, dir+"/") {
			found[file] = number
		}
	}
	return found, nil
}

// backing is the file under a loop device, "" when there is none.
func backing(number int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/loop/backing_file", number))
	return strings.TrimSpace(string(text))
}

// endDevices waits until the devices below the directory have gone with their mounts, and takes away what a killed process has left.
func (s *Stack) endDevices() error {
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		left, err := devicesBelow(s.Dir)
		if err != nil || len(left) == 0 {
			return err
		}
		for file, number := range left {
			if time.Since(began) > 20*time.Second {
				return fmt.Errorf("/dev/loop%d over %s is still in use, so nothing is removed", number, file)
			}
			if err := endDevice(number, file); err != nil {
				return err
			}
		}
	}
}

// endDevice tells a device to go, which it does when it is free. It may be another's by now; while it is open it can't become so.
func endDevice(number int, file string) error {
	f, err := os.Open(fmt.Sprintf("/dev/loop%d", number))
	if errors.Is(err, unix.ENXIO) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if backing(number) != file {
		return nil
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil && err != unix.ENXIO && err != unix.EBUSY {
		return fmt.Errorf("LOOP_CLR_FD of %s: %w", f.Name(), err)
	}
	return nil
}
