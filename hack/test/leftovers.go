package main

// What tests leave behind: processes with our marker in their environment, mounts below our directory of temporary
// files, and loop devices over files in it. After a suite they are a failure of it; after a run that was killed they are what the next run begins with.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// grace is for processes that are ending when their test has ended.
const grace = 5 * time.Second

// process is one that carries our marker.
type process struct {
	pid  int
	args string
}

// cephDaemons are hack/ceph's to stop: a test that starts one again through it gives it our environment.
var cephDaemons = []string{"ceph-mon", "ceph-mgr", "ceph-osd", "ceph-mds", "radosgw"}

// readProcess returns the process if it is one of this run's and lives: a zombie has no environment any more.
func (r *Run) readProcess(pid int) (process, bool) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	env, err := os.ReadFile(dir + "environ")
	if err != nil || pid == os.Getpid() || !hasMarker(env, r.root) {
		return process{}, false
	}
	args, err := os.ReadFile(dir + "cmdline")
	if err != nil || len(args) == 0 {
		return process{}, false
	}
	program, _, _ := bytes.Cut(args, []byte{0})
	if slices.Contains(cephDaemons, filepath.Base(string(program))) {
		return process{}, false
	}
	return process{pid, strings.TrimSpace(string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))}, true
}

func hasMarker(environ []byte, mark string) bool {
	want := []byte(marker + "=" + mark)
	return slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(kv []byte) bool { return bytes.Equal(kv, want) })
}

func (r *Run) processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []process
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := r.readProcess(pid); ok {
				found = append(found, p)
			}
		}
	}
	return found, nil
}

// kill ends a process by its pidfd, so that it can't be another that got its id.
func (r *Run) kill(p process) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, ok := r.readProcess(p.pid); !ok {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	return nil
}

// mounts are those below our temporary directory, the deepest first.
func (r *Run) mounts() ([]string, error) {
	tmp, err := filepath.EvalSymlinks(r.tmpDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return !strings.HasPrefix(i.Mountpoint, tmp+"/"), false })
	if err != nil {
		return nil, err
	}
	var found []string
	for _, i := range infos {
		found = append(found, i.Mountpoint)
	}
	slices.Reverse(found)
	return found, nil
}

// loops are the devices of loop devices over files in our temporary directory, files that were unlinked included.
func (r *Run) loops() ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENXIO) {
			continue // detached meanwhile
		}
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(string(text), r.tmpDir()+"/") {
			found = append(found, "/dev/"+strings.Split(f, "/")[3])
		}
	}
	return found, nil
}

// leftover is what is there that shouldn't be.
type leftover struct {
	processes []process
	mounts    []string
	loops     []string
}

func (l leftover) count() int { return len(l.processes) + len(l.mounts) + len(l.loops) }

func (l leftover) String() string {
	return fmt.Sprintf("%d processes, %d mounts, %d loop devices", len(l.processes), len(l.mounts), len(l.loops))
}

// leftovers lists what is there, after a time for what is just ending.
func (r *Run) leftovers(ctx context.Context, wait time.Duration) (leftover, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		var l leftover
		var err error
		if l.processes, err = r.processes(); err != nil {
			return l, err
		}
		if l.mounts, err = r.mounts(); err != nil {
			return l, err
		}
		if l.loops, err = r.loops(); err != nil || l.count() == 0 {
			return l, err
		}
		select {
		case <-ctx.Done():
			return l, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// remove kills, unmounts and detaches until nothing is left: a process that dies can leave a mount, and another may look after it.
func (r *Run) remove(ctx context.Context, l leftover) error {
	for range 5 {
		var errs []error
		for _, p := range l.processes {
			errs = append(errs, r.kill(p))
		}
		for _, m := range l.mounts {
			// Detached, since a dead FUSE mount can't be unmounted otherwise.
			if err := unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				errs = append(errs, fmt.Errorf("unmount %s: %w", m, err))
			}
		}
		for _, d := range l.loops {
			errs = append(errs, detach(d))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		var err error
		if l, err = r.leftovers(ctx, grace); err != nil || l.count() == 0 {
			return err
		}
	}
	return fmt.Errorf("still there: processes %v, mounts %v, loop devices %v", l.processes, l.mounts, l.loops)
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

// checkLeftovers counts what a suite leaves behind as a failure, and removes it for the sake of the next.
func (r *Run) checkLeftovers(ctx context.Context, suite string) {
	ctx = context.WithoutCancel(ctx)
	l, err := r.leftovers(ctx, grace)
	if err == nil && l.count() == 0 {
		return
	}
	for _, p := range l.processes {
		r.say.Printf("left behind: process %d: %s", p.pid, p.args)
	}
	for _, m := range l.mounts {
		r.say.Printf("left behind: mount %s", m)
	}
	for _, d := range l.loops {
		r.say.Printf("left behind: loop device %s", d)
	}
	if err == nil {
		err = errors.New(l.String())
	}
	r.broke(suite+" left something behind", errors.Join(err, r.remove(ctx, l)))
}

// cleanUp removes everything of this run, or of one that was killed.
func (r *Run) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	l, err := r.leftovers(ctx, 0)
	if err == nil {
		err = r.remove(ctx, l)
	}
	if _, serr := os.Stat(r.cephDir()); serr == nil {
		err = errors.Join(err, r.tool(ctx, r.cephTool(), r.cephArgs("stop")...))
	}
	// Only without any mount left in it: a recursive removal would go on into somebody's volume.
	if ms, merr := r.mounts(); merr != nil || len(ms) > 0 {
		return errors.Join(err, merr, fmt.Errorf("%s is not removed: there are mounts in it", r.tmpDir()))
	}
	return errors.Join(err, os.RemoveAll(r.tmpDir()))
}
