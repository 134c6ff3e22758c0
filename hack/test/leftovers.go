package main

// What tests leave behind: processes with our marker in their environment, and mounts below our directory of temporary
// files. After a suite they are a failure of it; after a run that was killed they are what the next run begins with.

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

func hasMarker(environ []byte, root string) bool {
	want := []byte(marker + "=" + root)
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

// leftovers lists what is there, after a time for what is just ending.
func (r *Run) leftovers(ctx context.Context, wait time.Duration) (ps []process, ms []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		if ps, err = r.processes(); err != nil {
			return nil, nil, err
		}
		if ms, err = r.mounts(); err != nil {
			return nil, nil, err
		}
		if len(ps)+len(ms) == 0 {
			return nil, nil, nil
		}
		select {
		case <-ctx.Done():
			return ps, ms, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// remove kills and unmounts until nothing is left: a process that dies can leave a mount, and another may look after it.
func (r *Run) remove(ctx context.Context, ps []process, ms []string) error {
	for range 5 {
		var errs []error
		for _, p := range ps {
			errs = append(errs, r.kill(p))
		}
		for _, m := range ms {
			// Detached, since a dead FUSE mount can't be unmounted otherwise.
			if err := unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				errs = append(errs, fmt.Errorf("unmount %s: %w", m, err))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		var err error
		if ps, ms, err = r.leftovers(ctx, grace); err != nil || len(ps)+len(ms) == 0 {
			return err
		}
	}
	return fmt.Errorf("still there: processes %v, mounts %v", ps, ms)
}

// checkLeftovers counts what a suite leaves behind as a failure, and removes it for the sake of the next.
func (r *Run) checkLeftovers(ctx context.Context, suite string) {
	ctx = context.WithoutCancel(ctx)
	ps, ms, err := r.leftovers(ctx, grace)
	if err == nil && len(ps)+len(ms) == 0 {
		return
	}
	for _, p := range ps {
		r.say.Printf("left behind: process %d: %s", p.pid, p.args)
	}
	for _, m := range ms {
		r.say.Printf("left behind: mount %s", m)
	}
	if err == nil {
		err = fmt.Errorf("%d processes and %d mounts", len(ps), len(ms))
	}
	r.broke(suite+" left something behind", errors.Join(err, r.remove(ctx, ps, ms)))
}

// cleanUp removes everything of this run, or of one that was killed.
func (r *Run) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	ps, ms, err := r.leftovers(ctx, 0)
	if err == nil {
		err = r.remove(ctx, ps, ms)
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
