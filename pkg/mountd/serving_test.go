package mountd_test

// A client that serves anybody, or holds what somebody wrote, is not ended for a new one.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/mountpoint"
)

// pod makes a bind mount of a mount, as a published volume is.
func (h *holder) pod(s mountd.Spec) string {
	h.t.Helper()
	path := filepath.Join(h.dir, "pod")
	if err := os.Mkdir(path, 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := mountpoint.Bind(s.Mountpoint, path, false); err != nil {
		h.t.Fatal(err)
	}
	return path
}

func (h *holder) unmount(path string, flags int) {
	h.t.Helper()
	if err := unix.Unmount(path, flags); err != nil {
		h.t.Fatalf("unmount %s: %v", path, err)
	}
}

// startWithin asks with little time, so that what waits for the end of a client gives up soon.
func (h *holder) startWithin(limit time.Duration, s mountd.Spec) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return h.Start(ctx, s, []byte(goodKey))
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if want == nil && err != nil || !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func TestAClientThatServesPodsIsNotEnded(t *testing.T) {
	h := newHolder(t)
	s := h.spec("good")
	first := h.mustStart(s)
	pod := h.pod(s)
	h.unmount(s.Mountpoint, 0)
	// Another node's client of the same volume, on the same machine, is none of this one's business.
	stranger := filepath.Join(h.dir, "stranger")
	wantError(t, os.Mkdir(stranger, 0o700), nil)
	wantError(t, unix.Mount(s.Source, stranger, "tmpfs", 0, "size=1m"), nil)

	for _, restart := range []bool{false, true} {
		if restart {
			h.kill()
			h.start()
		}
		err := h.Start(h.ctx(), s, []byte(goodKey))
		wantError(t, err, mountd.ErrBusy)
		if !strings.Contains(err.Error(), pod) {
			t.Errorf("%q doesn't say where it is in use", err)
		}
		if err := h.startWithin(2*time.Second, s); !errors.Is(err, mountd.ErrBusy) {
			t.Errorf("again: %v", err)
		}
		st := h.status(s)
		if st.State != mountd.Running || st.PID != first.PID || !slices.Equal(st.Elsewhere, []string{pod}) {
			t.Errorf("%+v", st)
		}
	}
	wantError(t, os.WriteFile(filepath.Join(pod, "x"), nil, 0o600), nil)

	// Bound back, it is found as it was.
	wantError(t, mountpoint.Bind(pod, s.Mountpoint, false), nil)
	if again := h.mustStart(s); again.PID != first.PID {
		t.Errorf("another process: %d, then %d", first.PID, again.PID)
	}
	// A stop waits for the pods, and says for which.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := h.Stop(ctx, s.Mountpoint)
	wantError(t, err, mountd.ErrBusy)
	if !strings.Contains(err.Error(), pod) {
		t.Errorf("%q doesn't say where it is in use", err)
	}
	h.unmount(pod, 0)
	wantError(t, h.Stop(h.ctx(), s.Mountpoint), nil)
	if all, err := h.List(h.ctx()); err != nil || len(all) != 0 {
		t.Errorf("left over: %+v, %v", all, err)
	}
	if !isMounted(t, stranger) {
		t.Error("the stranger's mount is gone")
	}
}

func TestAnEvictedClientIsReplacedThoughPodsAreOnIt(t *testing.T) {
	for name, detach := range map[string]bool{"mounted still": false, "its mountpoint freed": true} {
		t.Run(name, func(t *testing.T) {
			h := newHolder(t)
			s := h.spec("fuse")
			first := h.mustStart(s)
			pod := h.pod(s)
			wantError(t, unix.Kill(first.PID, unix.SIGUSR1), nil)
			h.eventually("it is evicted", func() bool { _, err := os.Stat(pod); return errors.Is(err, unix.ENOENT) })
			if detach {
				h.unmount(s.Mountpoint, unix.MNT_DETACH)
			}
			s.User = "good" // an identity that works
			if second := h.mustStart(s); second.PID == first.PID {
				t.Error("not replaced")
			}
			if m, _, err := mountpoint.Find(s.Mountpoint); err != nil || m == nil || m.Stacked != 1 {
				t.Errorf("mounted: %+v, %v", m, err)
			}
		})
	}
}

func TestASilentClientIsLeftToComeBack(t *testing.T) {
	for name, detach := range map[string]bool{"mounted still": false, "its mountpoint freed": true} {
		t.Run(name, func(t *testing.T) {
			h := newHolder(t)
			s := h.spec("fuse")
			first := h.mustStart(s)
			pod := h.pod(s)
			wantError(t, unix.Kill(first.PID, unix.SIGSTOP), nil)
			t.Cleanup(func() { _ = unix.Kill(first.PID, unix.SIGKILL) })
			h.eventually("all of the client stands still", func() bool { return standsStill(t, first.PID) })
			want := mountd.ErrUnreachable
			if detach {
				h.unmount(s.Mountpoint, unix.MNT_DETACH)
				want = mountd.ErrBusy
			}
			wantError(t, h.startWithin(2*time.Second, s), want)
			wantError(t, unix.Kill(first.PID, unix.SIGCONT), nil)
			if detach {
				wantError(t, mountpoint.Bind(pod, s.Mountpoint, false), nil)
			}
			if again := h.mustStart(s); again.PID != first.PID {
				t.Error("it was replaced")
			}
		})
	}
}

// standsStill says whether every thread is stopped: the signal is sent before it is obeyed. The state follows the name, which is in brackets (proc(5)).
func standsStill(t *testing.T, pid int) bool {
	t.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		t.Fatalf("process %d: %v, %v", pid, stats, err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, state, _ := bytes.Cut(b, []byte(") ")); !bytes.HasPrefix(state, []byte("T")) {
			return false
		}
	}
	return true
}

func TestWhatAClientStillWritesIsAwaited(t *testing.T) {
	h := newHolder(t)
	s := h.spec("busy")
	first := h.mustStart(s)
	h.unmount(s.Mountpoint, 0)
	err := h.startWithin(time.Second, s)
	wantError(t, err, mountd.ErrBusy)
	if st := h.status(s); st.State != mountd.Running || st.PID != first.PID {
		t.Errorf("%+v", st)
	}
	done := make(chan error)
	go func() { done <- h.Start(h.ctx(), s, []byte(goodKey)) }()
	wantError(t, os.WriteFile(s.Mountpoint+".written", nil, 0o600), nil)
	wantError(t, <-done, nil)
	if st := h.status(s); st.PID == first.PID || st.State != mountd.Running {
		t.Errorf("%+v", st)
	}
}

func TestAStrangersMountIsNotTouched(t *testing.T) {
	cover := func(h *holder, s mountd.Spec) {
		h.t.Helper()
		wantError(h.t, unix.Mount("stranger", s.Mountpoint, "tmpfs", 0, "size=1m"), nil)
	}
	t.Run("where a client has died", func(t *testing.T) {
		h := newHolder(t)
		s := h.spec("good")
		first := h.mustStart(s)
		wantError(t, unix.Kill(first.PID, unix.SIGKILL), nil)
		h.eventually("the death is seen", func() bool { return h.status(s).State == mountd.Exited })
		h.unmount(s.Mountpoint, unix.MNT_DETACH)
		cover(h, s)
		wantError(t, h.Start(h.ctx(), s, []byte(goodKey)), mountd.ErrConflict)
		wantError(t, h.Stop(h.ctx(), s.Mountpoint), nil)
		if m, ok, err := mountpoint.Find(s.Mountpoint); err != nil || !ok || m.Source != "stranger" {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("above a client that lives", func(t *testing.T) {
		h := newHolder(t)
		s := h.spec("good")
		first := h.mustStart(s)
		cover(h, s)
		wantError(t, h.Start(h.ctx(), s, []byte(goodKey)), mountd.ErrConflict)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantError(t, h.Stop(ctx, s.Mountpoint), mountd.ErrConflict)
		if st := h.status(s); st.PID != first.PID || st.State != mountd.Running {
			t.Errorf("%+v", st)
		}
		h.unmount(s.Mountpoint, 0)
		if again := h.mustStart(s); again.PID != first.PID {
			t.Error("it was replaced")
		}
	})
}
