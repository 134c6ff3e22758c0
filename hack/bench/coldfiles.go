package main

// What is done through the mounts of part cold: it is what any program does, one call after the other.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// readFile reads a whole file in pieces of 1 MiB.
func readFile(path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{f}, make([]byte, min(mib, size)))
	if err == nil && n != size {
		err = fmt.Errorf("%s: read %d bytes, not %d", path, n, size)
	}
	return err
}

// onlyReader hides what else a file can do: programs read.
type onlyReader struct{ io.Reader }

// writeFile writes a new file in pieces of at most 1 MiB, with fsync where it is to be durable, and closes it.
func writeFile(path string, content []byte, size int64, durable bool) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for off := int64(0); off < size; off += mib {
		at := off % int64(len(content))
		if _, err := f.Write(content[at : at+min(mib, size-off)]); err != nil {
			return err
		}
	}
	if durable {
		return f.Sync()
	}
	return nil
}

// listNames is ls -f.
func listNames(dir string, count int) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err == nil && len(names) != count {
		err = fmt.Errorf("%s has %d names, not %d", dir, len(names), count)
	}
	return names, err
}

// listAll is ls -l: each name is looked at as soon as it was read, which lets a client send names and attributes together.
func listAll(dir string, count int, size int64) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	for range count {
		name, err := f.Readdirnames(1)
		if err != nil {
			return fmt.Errorf("%s, which should have %d names: %w", dir, count, err)
		}
		if err := look(filepath.Join(dir, name[0]), size); err != nil {
			return err
		}
	}
	if more, err := f.Readdirnames(1); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s has %q beside the %d names that it should have: %w", dir, more, count, err)
	}
	return nil
}

// listThenLook reads all names first, as many programs do.
func listThenLook(dir string, count int, size int64) error {
	names, err := listNames(dir, count)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := look(filepath.Join(dir, n), size); err != nil {
			return err
		}
	}
	return nil
}

// look is stat.
func look(path string, size int64) error {
	i, err := os.Lstat(path)
	if err == nil && i.Size() != size {
		err = fmt.Errorf("%s has %d bytes, not %d", path, i.Size(), size)
	}
	return err
}

// dropPages makes the kernel forget a file's pages: of one in a mount, what it would answer with instead of asking the mount's program.
func dropPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("posix_fadvise", unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// dropCache makes the kernel forget the pages of all files of a cache directory, after what isn't yet on the disk has been written there.
func dropCache(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return os.NewSyscallError("syncfs", err)
	}
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		return dropPages(path)
	})
}

// coldJobs is how many programs read at random at once.
const coldJobs = 4

// randomRead reads blocks of 4 KiB of a file at random, each at most once, from pages that the kernel has forgotten before: whoever has the mount is asked for each.
func randomRead(ctx context.Context, path string, size int64, longest time.Duration) (block, error) {
	share := strconv.FormatInt(size/coldJobs, 10)
	cmd := exec.CommandContext(ctx, "fio", "--name=bench", "--filename="+path, "--rw=randread", "--readonly", "--bs=4k", "--ioengine=psync", "--invalidate=1",
		"--numjobs="+strconv.Itoa(coldJobs), "--size="+share, "--offset_increment="+share, fmt.Sprintf("--runtime=%dms", longest.Milliseconds()), "--group_reporting",
		"--output-format=json", "--randrepeat=0")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s%s", err, exit.Stderr, out)
	}
	if err != nil {
		return block{}, fmt.Errorf("fio: %w", err)
	}
	return fioResult(out, workload{random: true})
}
