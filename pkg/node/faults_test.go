package node

// Calls that were interrupted or come at the wrong time, mounts that are dead, silent, busy or somebody else's.

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestDeadMounts(t *testing.T) {
	die := func(t *testing.T, path string) {
		t.Helper()
		wantError(t, unix.Unmount(path, unix.MNT_DETACH), nil)
		mountpointtest.Dead(t, path)
	}
	t.Run("stage replaces a dead mount", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		die(t, f.staging)
		f.stage(t)
		wantError(t, f.stager.Staged(t.Context(), id, f.staging), nil)
	})
	t.Run("publish without secrets says what to do", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		die(t, f.staging)
		_, err := f.NodePublishVolume(t.Context(), f.publishRequest())
		wantError(t, err, volume.ErrUnavailable)
		if !strings.Contains(err.Error(), "node-publish-secret-name") {
			t.Errorf("%q", err)
		}
	})
	t.Run("publish with secrets repairs both", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		f.publish(t)
		die(t, f.staging)
		die(t, f.target)
		r := f.publishRequest()
		r.Secrets = f.secrets
		if _, err := f.NodePublishVolume(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{f.staging, f.target} {
			wantError(t, f.stager.Staged(t.Context(), id, p), nil)
			if n := stacked(t, p); n != 1 {
				t.Errorf("%d mounts at %s", n, p)
			}
		}
	})
	t.Run("unpublish takes a dead mount away", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		f.publish(t)
		die(t, f.target)
		wantError(t, f.unpublish(t, id, f.target), nil)
		if _, err := os.Lstat(f.target); !os.IsNotExist(err) {
			t.Errorf("the target is still there: %v", err)
		}
	})
}

func TestAnothersMountIsNeverTakenAway(t *testing.T) {
	const another = id + "2"
	unstage := func(f *fixture, id string) error {
		_, err := f.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: f.staging})
		return err
	}
	t.Run("of another volume", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		f.publish(t)
		wantError(t, f.unpublish(t, another, f.target), volume.ErrPrecondition)
		wantError(t, unstage(f, another), volume.ErrPrecondition)
		for _, p := range []string{f.staging, f.target} {
			wantError(t, f.stager.Staged(t.Context(), id, p), nil)
		}
	})
	t.Run("of a stranger", func(t *testing.T) {
		f := newFixture(t)
		wantError(t, os.Mkdir(f.target, 0o750), nil)
		mountpointtest.TmpFS(t, f.target)
		mountpointtest.TmpFS(t, f.staging)
		wantError(t, f.unpublish(t, id, f.target), volume.ErrPrecondition)
		wantError(t, unstage(f, id), volume.ErrPrecondition)
		if stacked(t, f.target) != 1 || stacked(t, f.staging) != 1 {
			t.Error("it is gone")
		}
	})
	t.Run("below the volume's own", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		wantError(t, os.Mkdir(f.target, 0o750), nil)
		mountpointtest.TmpFS(t, f.target)
		wantError(t, mountpoint.Bind(f.staging, f.target, false), nil)
		wantError(t, f.unpublish(t, id, f.target), volume.ErrPrecondition)
		if m, ok, err := mountpoint.Find(f.target); err != nil || !ok || m.Source != "strata-test" {
			t.Errorf("left: %+v, %v", m, err)
		}
	})
	t.Run("published from a stranger's at the staging path", func(t *testing.T) {
		f := newFixture(t)
		mountpointtest.TmpFS(t, f.staging)
		r := f.publishRequest()
		r.Secrets = f.secrets
		_, err := f.NodePublishVolume(t.Context(), r)
		wantError(t, err, volume.ErrExists)
		if _, err := os.Lstat(f.target); !os.IsNotExist(err) {
			t.Errorf("a refused publish left its directory: %v", err)
		}
	})
}

// Kubelet publishes again now and then; what a running pod has must survive a passing fault (kubernetes#121271).
func TestARepeatedPublishThatFailsLeavesThePodItsMount(t *testing.T) {
	f := newFixture(t)
	f.stage(t)
	f.publish(t)
	wantError(t, unix.Unmount(f.staging, 0), nil)
	mountpointtest.Dead(t, f.staging)
	_, err := f.NodePublishVolume(t.Context(), f.publishRequest())
	wantError(t, err, volume.ErrUnavailable)
	wantError(t, os.WriteFile(filepath.Join(f.target, "x"), nil, 0o600), nil)
}

func TestAPublishThatWasInterruptedIsDoneAgain(t *testing.T) {
	f := newFixture(t)
	f.stage(t)
	wantError(t, os.Mkdir(f.target, 0o750), nil) // its directory was made, its mount was not
	f.publish(t)
	if stacked(t, f.target) != 1 {
		t.Error("not mounted")
	}
}

func TestASilentMountHoldsNobodyUp(t *testing.T) {
	f := newFixture(t)
	wantError(t, os.Mkdir(f.target, 0o750), nil)
	mountpointtest.Silent(t, f.staging)
	mountpointtest.Silent(t, f.target)
	within := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	before := runtime.NumGoroutine()
	var calls sync.WaitGroup
	for range 20 {
		for _, path := range []string{f.staging, f.target} {
			calls.Go(func() {
				_, err := f.NodeGetVolumeStats(within(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
				if !errors.Is(err, volume.ErrUnavailable) {
					t.Errorf("stats: %v", err)
				}
			})
		}
	}
	calls.Wait()
	// The callers' own goroutines end a moment after their calls.
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before+2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d goroutines wait for 2 mounts", runtime.NumGoroutine()-before)
			break
		}
	}
	_, err := f.NodePublishVolume(within(), f.publishRequest())
	wantError(t, err, volume.ErrUnavailable)
	_, err = f.NodeStageVolume(within(), f.stageRequest())
	// A mount that nobody uses may be taken away first, which needs no answer from it.
	if stacked(t, f.staging) > 1 {
		t.Errorf("staged over it: %v", err)
	}
	// The pod goes all the same.
	wantError(t, f.unpublish(t, id, f.target), nil)
}

func TestUnstageOfABusyMountIsAnErrorAndTakesNothing(t *testing.T) {
	f := newFixture(t)
	f.stage(t)
	file, err := os.Create(filepath.Join(f.staging, "open"))
	wantError(t, err, nil)
	defer file.Close()
	unstage := func() error {
		_, err := f.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: f.staging})
		return err
	}
	wantError(t, unstage(), volume.ErrUnavailable)
	wantError(t, f.stager.Staged(t.Context(), id, f.staging), nil)
	wantError(t, file.Close(), nil)
	wantError(t, unstage(), nil)
}

// Unstage may never have been called, or a Stage have been answered to nobody: the next one finds what is there.
func TestStageAfterAnEarlierOne(t *testing.T) {
	t.Run("whose answer was lost", func(t *testing.T) {
		f := newFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		f.stager.OnStage(func(context.Context) { cancel() })
		_, _ = f.NodeStageVolume(ctx, f.stageRequest())
		f.stager.OnStage(nil)
		f.Server = f.restart(t)
		f.stage(t)
		if n := stacked(t, f.staging); n != 1 {
			t.Errorf("%d mounts", n)
		}
	})
	t.Run("that pods still use", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		f.publish(t)
		f.Server = f.restart(t)
		f.stage(t)
		wantError(t, os.WriteFile(filepath.Join(f.target, "x"), nil, 0o600), nil)
		if _, err := os.Stat(filepath.Join(f.staging, "x")); err != nil {
			t.Errorf("another mount than the pod's: %v", err)
		}
	})
	t.Run("of another volume at the path", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		r := f.stageRequest()
		r.VolumeId = id + "2"
		_, err := f.NodeStageVolume(t.Context(), r)
		wantError(t, err, volume.ErrExists)
		wantError(t, f.stager.Staged(t.Context(), id, f.staging), nil)
	})
}
