package mountpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
)

func TestDeadRecognisesWrappedErrors(t *testing.T) {
	cases := []struct {
		name string
		err  error
		want bool
	}{
		{"nothing", nil, false},
		{"FUSE server gone", syscall.ENOTCONN, true},
		{"wrapped twice", fmt.Errorf("a: %w", fmt.Errorf("b: %w", syscall.ENOTCONN)), true},
		{"in a path error", fmt.Errorf("a: %w", &fs.PathError{Op: "stat", Path: "/x", Err: syscall.ESTALE}), true},
		{"evicted kernel client", syscall.EACCES, true},
		{"blocklisted ceph-fuse", syscall.ESHUTDOWN, true},
		{"host down", syscall.EHOSTDOWN, true},
		{"one bad answer", syscall.EIO, false},
		{"no such directory", syscall.ENOENT, false},
		{"hung", mountpoint.ErrProbeHung, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := mountpoint.Dead(c.err); got != c.want {
				t.Errorf("Dead(%v) = %v", c.err, got)
			}
		})
	}
}

func TestProbeReportsSizes(t *testing.T) {
	d := dir(t)
	mountpointtest.Live(t, d)
	st, err := mountpoint.NewProber(0).Probe(within(t, time.Minute), d)
	if err != nil {
		t.Fatal(err)
	}
	want := mountpoint.Stats{
		TotalBytes: 1000 * 4096, FreeBytes: 600 * 4096, AvailableBytes: 500 * 4096,
		TotalInodes: 100, FreeInodes: 90,
	}
	if st != want || st.UsedBytes() != 400*4096 || st.UsedInodes() != 10 {
		t.Fatalf("got %+v", st)
	}
}

func TestProbeSaysDeadForAFUSEMountWithoutServer(t *testing.T) {
	d := dir(t)
	mountpointtest.Dead(t, d)
	_, err := mountpoint.NewProber(0).Probe(within(t, time.Minute), d)
	if !errors.Is(err, syscall.ENOTCONN) || !mountpoint.Dead(err) {
		t.Fatalf("err = %v", err)
	}
}

func TestProbeSeesThroughTheENOENTOfCephFuse(t *testing.T) {
	for _, c := range []struct {
		name         string
		cause, want  syscall.Errno
		dead, detach bool
	}{
		{"evicted", syscall.ESHUTDOWN, syscall.ESHUTDOWN, true, true},
		{"root removed", syscall.ENOENT, syscall.ESTALE, true, true},
		{"one bad answer", syscall.EIO, syscall.EIO, false, false},
		{"no such attribute", syscall.ENODATA, syscall.ENOENT, false, false},
		{"no attributes at all", syscall.ENOSYS, syscall.ENOENT, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := dir(t)
			mountpointtest.Cut(t, d, c.cause)
			p := mountpoint.NewProber(0)
			_, err := p.Probe(within(t, time.Minute), d)
			if !errors.Is(err, c.want) || mountpoint.Dead(err) != c.dead {
				t.Errorf("err = %v, dead %t", err, mountpoint.Dead(err))
			}
			state, _, _ := p.Inspect(within(t, time.Minute), d)
			if (state == mountpoint.Defunct) != c.dead {
				t.Errorf("state %s", state)
			}
			// In use, it is detached when it is dead, and only then.
			fd, err := unix.Open(d, unix.O_PATH, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			err = mountpoint.NewUnmounter(p).Unmount(within(t, time.Minute), d)
			if c.detach != (err == nil) || err != nil && !errors.Is(err, mountpoint.ErrBusy) {
				t.Errorf("unmount: %v", err)
			}
			if _, ok := find(t, d); ok == c.detach {
				t.Errorf("mounted afterwards: %t", ok)
			}
		})
	}
}

func TestHungProbesShareOneCall(t *testing.T) {
	d := dir(t)
	silent := mountpointtest.Silent(t, d)
	p := mountpoint.NewProber(0)
	var wg sync.WaitGroup
	before := runtime.NumGoroutine()
	for range 50 {
		wg.Go(func() {
			start := time.Now()
			_, err := p.Probe(within(t, 100*time.Millisecond), d)
			if !errors.Is(err, mountpoint.ErrProbeHung) || mountpoint.Dead(err) {
				t.Errorf("err = %v", err)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("a probe with 100 ms to live took %s", took)
			}
		})
	}
	wg.Wait()
	if n := p.InFlight(); n != 1 {
		t.Fatalf("%d calls in flight after 50 probes of one mount", n)
	}
	if after := runtime.NumGoroutine(); after > before+2 {
		t.Fatalf("goroutines went from %d to %d", before, after)
	}
	// The flight ends when the mount dies, and the next probe asks anew.
	if err := silent.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Probe(within(t, time.Minute), d); !mountpoint.Dead(err) {
		t.Fatalf("after death: %v", err)
	}
}

func TestAHungProbeDoesNotMakeTheMountBusy(t *testing.T) {
	d := dir(t)
	mountpointtest.Silent(t, d)
	p := mountpoint.NewProber(0)
	if _, err := p.Probe(within(t, 50*time.Millisecond), d); !errors.Is(err, mountpoint.ErrProbeHung) {
		t.Fatalf("err = %v", err)
	}
	if err := mountpoint.NewUnmounter(p).Unmount(within(t, time.Minute), d); err != nil {
		t.Fatal(err)
	}
	if p.InFlight() != 1 {
		t.Error("the probe had ended: the test proves nothing")
	}
}

func TestAHungCallDoesNotSpeakForTheNextMountAtItsPath(t *testing.T) {
	d := dir(t)
	mountpointtest.Silent(t, d)
	p := mountpoint.NewProber(0)
	if _, err := p.Probe(within(t, 50*time.Millisecond), d); !errors.Is(err, mountpoint.ErrProbeHung) {
		t.Fatalf("err = %v", err)
	}
	if err := unix.Unmount(d, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	mountpointtest.Live(t, d)
	if _, err := p.Probe(within(t, time.Minute), d); err != nil {
		t.Fatalf("the new mount is said to be: %v", err)
	}
}

func TestProbesOfManyHungMountsAreCapped(t *testing.T) {
	p := mountpoint.NewProber(2)
	for i := range 2 {
		d := dir(t, fmt.Sprint(i))
		mountpointtest.Silent(t, d)
		if _, err := p.Probe(within(t, 50*time.Millisecond), d); !errors.Is(err, mountpoint.ErrProbeHung) {
			t.Fatalf("err = %v", err)
		}
	}
	if _, err := p.Probe(within(t, time.Minute), dir(t, "third")); !errors.Is(err, mountpoint.ErrProbeLimit) {
		t.Fatalf("third: %v", err)
	}
}

func TestInspectTellsTheStatesApart(t *testing.T) {
	cases := []struct {
		mount func(*testing.T, string)
		want  mountpoint.State
	}{
		{func(*testing.T, string) {}, mountpoint.Absent},
		{func(t *testing.T, d string) { mountpointtest.Live(t, d) }, mountpoint.Live},
		{func(t *testing.T, d string) { mountpointtest.Dead(t, d) }, mountpoint.Defunct},
		{func(t *testing.T, d string) { mountpointtest.Silent(t, d) }, mountpoint.Silent},
	}
	for _, c := range cases {
		t.Run(c.want.String(), func(t *testing.T) {
			d := dir(t)
			c.mount(t, d)
			state, cause, err := mountpoint.NewProber(0).Inspect(within(t, time.Second), d)
			if err != nil || state != c.want {
				t.Fatalf("state %s, cause %v, err %v", state, cause, err)
			}
			if bad := state == mountpoint.Defunct || state == mountpoint.Silent; bad != (cause != nil) {
				t.Fatalf("state %s with cause %v", state, cause)
			}
		})
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
