package main

// Loop devices are the whole machine's, whatever the namespaces: those over files of the cluster outlive it.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// file is which one it is, under any name.
type file struct{ device, inode uint64 }

// loop is a loop device and what it is made of.
type loop struct {
	name   string // "loop7"
	number uint64 // of the device, as stat(2) has it
	file   file
	below  uint64 // the device that the file is on, or is
}

// detachLoops detaches the loop devices over files below the directory, and those over these. What was mounted from them went
// with the mount namespaces, and the kernel takes a moment for it.
func detachLoops(ctx context.Context, l Layout, say *Progress) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	told := map[string]bool{}
	return poll(ctx, 100*time.Millisecond, func() (bool, string, error) {
		devices, err := loopsOf(l.Dir)
		if err != nil || len(devices) == 0 {
			return err == nil, "", err
		}
		for _, d := range slices.Backward(devices) {
			if !told[d] {
				say.Step("detaching %s", d)
				told[d] = true
			}
			if err := detach(d); err != nil {
				return false, "", err
			}
		}
		return false, strings.Join(devices, ", ") + " to be detached", nil
	})
}

// loopsOf finds the loop devices over files below dir, and those over a device that was found or over a file on one: the kubelet
// makes them of raw block volumes. The lowest come first. Files are known by their inodes: a name in another mount namespace
// means nothing here.
func loopsOf(dir string) ([]string, error) {
	loops, err := attachedLoops()
	if err != nil || len(loops) == 0 {
		return nil, err
	}
	ours := map[uint64]bool{}
	var found []string
	add := func(l loop) {
		if !ours[l.number] {
			ours[l.number] = true
			found = append(found, "/dev/"+l.name)
		}
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		for _, l := range loops {
			if l.file == (file{st.Dev, st.Ino}) {
				add(l)
			}
		}
		return nil
	})
	for n := -1; n != len(found); {
		n = len(found)
		for _, l := range loops {
			if ours[l.below] {
				add(l)
			}
		}
	}
	return found, err
}

func attachedLoops() ([]loop, error) {
	backed, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var loops []loop
	for _, path := range backed {
		l, ok, err := readLoop(strings.Split(path, "/")[3])
		if err != nil {
			return nil, err
		}
		if ok {
			loops = append(loops, l)
		}
	}
	return loops, nil
}

// readLoop reports false for a device without a file.
func readLoop(name string) (loop, bool, error) {
	f, err := os.Open("/dev/" + name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) {
		return loop{}, false, nil
	}
	if err != nil {
		return loop{}, false, err
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if errors.Is(err, unix.ENXIO) { // detached meanwhile
		return loop{}, false, nil
	}
	if err != nil {
		return loop{}, false, fmt.Errorf("%s: %w", f.Name(), err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return loop{}, false, fmt.Errorf("%s: %w", f.Name(), err)
	}
	// lo_rdevice is of a file that is a device itself, lo_device that of any other's file system (loop_get_status,
	// drivers/block/loop.c).
	below := info.Rdevice
	if below == 0 {
		below = info.Device
	}
	return loop{name: name, number: st.Rdev, file: file{info.Device, info.Inode}, below: below}, true, nil
}

// detach takes the file from a loop device; with something using it, that is done when the last user is gone.
func detach(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("detach %s: %w", device, err)
	}
	return nil
}
