package main

// Where everything is, one build at a time, and calling the programs that do the work.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// store is the directory of the archives, locked.
type store struct {
	root string // of the checkout
	say  *Progress
	lock *os.File
	tmp  string // of this run
}

func (s *store) path(elem ...string) string {
	return filepath.Join(append([]string{s.root, ".strata", "images"}, elem...)...)
}

// cache is what is worth keeping when the images are made anew on the same Debian.
func (s *store) cache(elem ...string) string {
	return filepath.Join(append([]string{s.root, ".strata", "cache", "image"}, elem...)...)
}

// open waits for another build of this checkout to end, and clears away what a killed one left.
func open(ctx context.Context, root string, say *Progress) (*store, error) {
	s := &store{root: root, say: say}
	for _, dir := range []string{s.path(), s.cache()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for said := false; ; said = true {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("%s: %w", lock.Name(), err), lock.Close())
		}
		if !said {
			say.Step("waiting for another build of images")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), lock.Close())
		case <-time.After(200 * time.Millisecond):
		}
	}
	s.lock, s.tmp = lock, s.path("tmp")
	if err := errors.Join(os.RemoveAll(s.tmp), os.MkdirAll(s.tmp, 0o700)); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *store) close() error {
	return errors.Join(os.RemoveAll(s.tmp), s.lock.Close())
}

// clean removes all but the lock.
func (s *store) clean() error {
	entries, err := os.ReadDir(s.path())
	if err != nil {
		return err
	}
	errs := []error{os.RemoveAll(s.cache())}
	for _, e := range entries {
		if e.Name() != "lock" {
			errs = append(errs, os.RemoveAll(s.path(e.Name())))
		}
	}
	return errors.Join(errs...)
}

// command runs a program in a mount namespace of its own, so that nothing stays mounted when it or we are killed. What
// it prints goes to the log and its last lines into the error; lines with the prefix are shown as they come.
func (s *store) command(ctx context.Context, log io.Writer, dir, show, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+s.tmp, "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Setpgid: true}
	// The whole group: what it started in turn would go on.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&stdout, w), w
	fmt.Fprintf(log, "# %s %s\n", name, strings.Join(args, " "))
	if err := cmd.Start(); err != nil {
		return "", errors.Join(fmt.Errorf("%s: %w", name, err), w.Close())
	}
	var last []string
	read := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			fmt.Fprintln(log, lines.Text())
			last = append(last[max(0, len(last)-19):], lines.Text())
			if show != "" && strings.Contains(lines.Text(), show) {
				s.say.Step("  %s", shorten(lines.Text()))
			}
		}
		_, err := io.Copy(log, r) // a line too long
		read <- errors.Join(lines.Err(), err)
	}()
	err = cmd.Wait()
	w.Close()
	if rerr := <-read; err == nil {
		err = rerr
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), errors.Join(ctx.Err(), err), strings.Join(last, "\n"))
	}
	return stdout.String(), nil
}

func shorten(line string) string {
	if line = strings.Join(strings.Fields(line), " "); len(line) > 110 {
		return line[:110] + " ..."
	}
	return line
}

// runRoot has the builder's notes of what is mounted. They are of this run, as its mounts are.
func (s *store) runRoot() string { return filepath.Join(s.tmp, "run") }

// buildah calls the builder with a storage of its own.
func (s *store) buildah(ctx context.Context, log io.Writer, show string, args ...string) (string, error) {
	all := append([]string{"--root", s.path("storage"), "--runroot", s.runRoot(), "--storage-driver", "overlay"}, args...)
	return s.command(ctx, log, s.root, show, "buildah", all...)
}

// logFile starts the log of an image anew.
func (s *store) logFile(name string) (*os.File, error) { return os.Create(s.path(name + ".log")) }

// replace makes a file whole or not at all.
func replace(path string, write func(*os.File) error) error {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}

// treeSize is the sum of the sizes of a directory's files, which may change meanwhile.
func treeSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var i fs.FileInfo
			if i, err = e.Info(); err == nil {
				size += i.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return size, err
}
