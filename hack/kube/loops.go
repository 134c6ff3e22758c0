package main

// Loop devices are the whole machine's, whatever the namespaces: those over files of the cluster outlive it.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// file is which one it is, under any name.
type file struct{ device, inode uint64 }

// detachLoops detaches the loop devices over files below the directory. What was mounted from them went with the mount
// namespaces, and the kernel takes a moment for it.
func detachLoops(ctx context.Context, l Layout, say *Progress) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	told := map[string]bool{}
	return poll(ctx, 100*time.Millisecond, func() (bool, string, error) {
		devices, err := loopsOf(l.Dir)
		if err != nil || len(devices) == 0 {
			return err == nil, "", err
		}
		for _, d := range devices {
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

// loopsOf finds loop devices over files below dir by the files' inodes: a name in another mount namespace means nothing
// here.
func loopsOf(dir string) ([]string, error) {
	backed, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil || len(backed) == 0 {
		return nil, err
	}
	loops := map[file]string{}
	for _, path := range backed {
		device := "/dev/" + strings.Split(path, "/")[3]
		f, ok, err := backingFile(device)
		if err != nil {
			return nil, err
		}
		if ok {
			loops[f] = device
		}
	}
	var found []string
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if device, ok := loops[file{st.Dev, st.Ino}]; ok {
			found = append(found, device)
		}
		return nil
	})
	return found, err
}

func backingFile(device string) (file, bool, error) {
	f, err := os.Open(device)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) {
		return file{}, false, nil
	}
	if err != nil {
		return file{}, false, err
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if errors.Is(err, unix.ENXIO) { // detached meanwhile
		return file{}, false, nil
	}
	if err != nil {
		return file{}, false, fmt.Errorf("%s: %w", device, err)
	}
	return file{info.Device, info.Inode}, true, nil
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
