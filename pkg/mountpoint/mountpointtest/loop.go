package mountpointtest

// This file makes real block devices: loop devices over files.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// AttachLoop returns the node of a free loop device that now shows the image.
func AttachLoop(image string) (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for range 100 { // another process may take the free one first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", os.NewSyscallError("LOOP_CTL_GET_FREE", err)
		}
		node := fmt.Sprintf("/dev/loop%d", n)
		loop, err := os.OpenFile(node, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &unix.LoopConfig{Fd: uint32(f.Fd())})
		if err = errors.Join(os.NewSyscallError("LOOP_CONFIGURE", err), loop.Close()); !errors.Is(err, unix.EBUSY) {
			return node, err
		}
	}
	return "", fmt.Errorf("no loop device for %s: %w", image, unix.EBUSY)
}

// FindLoop returns the node of the loop device that shows the image, or "".
func FindLoop(image string) (string, error) {
	entries, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		b, err := os.ReadFile(e)
		if err == nil && strings.TrimSuffix(string(b), "\n") == image {
			return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(e))), nil
		}
	}
	return "", nil
}

// ResizeLoop makes the device as large as its image has become.
func ResizeLoop(node string) error { return onLoop(node, "LOOP_SET_CAPACITY", unix.LOOP_SET_CAPACITY) }

// DetachLoop takes the image away from the device.
func DetachLoop(node string) error { return onLoop(node, "LOOP_CLR_FD", unix.LOOP_CLR_FD) }

func onLoop(node, name string, request uint) error {
	loop, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = unix.IoctlRetInt(int(loop.Fd()), request)
	return errors.Join(os.NewSyscallError(name, err), loop.Close())
}

// Loop returns the node of a block device of size bytes, which is there until the test ends.
func Loop(t testing.TB, size int64) string {
	t.Helper()
	RequireRoot(t)
	image := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size)); err != nil {
		t.Fatal(err)
	}
	node, err := AttachLoop(image)
	if err != nil {
		t.Fatalf("attach a loop device: %v", err)
	}
	t.Cleanup(func() {
		if err := DetachLoop(node); err != nil && !errors.Is(err, unix.ENXIO) {
			t.Errorf("detach %s: %v", node, err)
		}
	})
	return node
}
