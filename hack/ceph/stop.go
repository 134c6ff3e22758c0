package main

// Taking the cluster down: mounts, processes, files.

import (
	"bufio"
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

// destroy unmounts what is mounted under the cluster's directory, ends every process of the cluster and removes the
// directory. It refuses a directory without our marker.
func destroy(ctx context.Context, l Layout, say *Progress) error {
	_, err := l.readMarker()
	if errors.Is(err, errNotOurs) {
		return err
	}
	exists := !errors.Is(err, fs.ErrNotExist) // a marker that can't be parsed is one all the same
	if exists {
		// From here on there is nothing that a start could make whole again.
		if err := os.Remove(l.ready()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := unmountAll(l, say); err != nil {
		return err
	}
	if err := killAll(ctx, l, say); err != nil {
		return err
	}
	if !exists {
		// An empty directory is what a crash before the marker leaves; any other was refused above.
		if err := os.Remove(l.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		say.Step("no cluster in %s", l.Dir)
		return nil
	}
	return removeDir(l, say)
}

// removeDir removes the directory, the marker last: a removal that was interrupted can be taken up again.
func removeDir(l Layout, say *Progress) error {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == markerName {
			continue
		}
		if err := os.RemoveAll(l.path(e.Name())); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return err
	}
	say.Step("removed %s", l.Dir)
	return nil
}

// killAll ends all processes that run with our ceph.conf, until there are none. The data goes too, so nobody needs
// to finish anything.
func killAll(ctx context.Context, l Layout, say *Progress) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("still there after a minute"))
	defer cancel()
	ended := 0
	for ctx.Err() == nil {
		ps, err := processes(l)
		if err != nil {
			return err
		}
		if len(ps) == 0 {
			if ended > 0 {
				say.Step("ended %d processes", ended)
			}
			return nil
		}
		var handles []Handle
		for _, p := range ps {
			h, ok, err := grab(l, p)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			defer h.release()
			if err := h.send(unix.SIGKILL); err != nil {
				return err
			}
			handles = append(handles, h)
		}
		for _, h := range handles {
			if err := h.wait(ctx); err != nil {
				return err
			}
		}
		ended += len(handles)
	}
	return fmt.Errorf("ending the cluster's processes: %w", context.Cause(ctx))
}

// unmountAll detaches everything mounted under the directory, the newest first. Mounts elsewhere are somebody
// else's to unmount: those that die with the cluster are named.
func unmountAll(l Layout, say *Progress) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	ps, err := processes(l)
	if err != nil {
		return err
	}
	for _, p := range ps {
		for _, target := range mountsUnder(string(b), "") {
			if slices.Contains(p.Args, target) && !strings.HasPrefix(target, l.Dir+"/") {
				say.Step("%s is mounted by %s of this cluster and will be dead: unmount it yourself", target, p.Program)
			}
		}
	}
	for _, target := range slices.Backward(mountsUnder(string(b), l.Dir)) {
		if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", target, err)
		}
		say.Step("unmounted %s", target)
	}
	return nil
}

// mountsUnder returns the mount points below dir in the order of mountinfo (proc_pid_mountinfo(5)), in
// which space, tab, newline and backslash are written as octal escapes.
func mountsUnder(mountinfo, dir string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var targets []string
	for s := bufio.NewScanner(strings.NewReader(mountinfo)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 5 {
			continue
		}
		if target := unescape.Replace(f[4]); strings.HasPrefix(target, dir+"/") {
			targets = append(targets, target)
		}
	}
	return targets
}

// removeParent removes the checkout's .strata when nothing is left in it.
func removeParent(l Layout) {
	if parent := filepath.Dir(l.Dir); filepath.Base(parent) == ".strata" {
		_ = os.Remove(parent) // not empty: somebody else's files
	}
}
