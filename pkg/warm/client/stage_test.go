package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/tier/tiertest"
	"github.com/strata-csi/strata/pkg/volume"
)

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if want == nil && err != nil || !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	if err != nil && strings.Contains(err.Error(), testKey) {
		t.Fatalf("the key is in the error: %v", err)
	}
}

func TestConforms(t *testing.T) {
	f := newFixture(t)
	f.fuse.snapshots = nil
	other := writableContext()
	other["path"] = "/volumes/team/other/5e1f"
	bad := writableContext()
	bad["path"] = "/"
	tiertest.Conform(t, tiertest.Subject{
		Stager: f.Stager, Volume: writable, Context: writableContext(), Other: "warm:lab:fs1:team:other", OtherContext: other,
		Secrets: secrets(), BadContext: bad, SecretsMissing: true,
	})
}

func TestWhatTheMounterIsAskedFor(t *testing.T) {
	f := newFixture(t)
	spec := f.spec()
	spec.Context["fuseMountOptions"] = "big_writes"
	spec.Context["kernelMountOptions"] = "wsize=4096"
	spec.Options = []string{"ro", "noatime"}
	wantError(t, f.Stage(t.Context(), spec), nil)
	got := f.fuse.mounts[0]
	want := Mount{Source: "strata:" + string(writable), Monitors: []string{"127.0.0.1:3300"}, User: "u1", FS: "fs1", Path: "/volumes/team/vol/5e1f",
		ReadOnly: true, Options: []string{"big_writes", "noatime"}, Target: f.dir}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if f.fuse.keys[0] != testKey {
		t.Error("another key")
	}
	wantError(t, f.Unstage(t.Context(), writable, f.dir), nil)
	if !slices.Contains(f.fuse.ended, f.dir) {
		t.Error("the mounter wasn't told of the unmount")
	}
}

func TestChoiceOfMounter(t *testing.T) {
	no := fmt.Errorf("%w: not here", volume.ErrPrecondition)
	for _, c := range []struct {
		mounter      string
		kernel, fuse error
		want         string
		err          error
	}{
		{"", nil, nil, "kernel", nil},
		{"auto", nil, nil, "kernel", nil},
		{"auto", no, nil, "fuse", nil},
		{"auto", no, no, "", volume.ErrPrecondition},
		{"kernel", nil, no, "kernel", nil},
		{"kernel", no, nil, "", volume.ErrPrecondition},
		{"fuse", nil, nil, "fuse", nil},
		{"fuse", nil, no, "", volume.ErrPrecondition},
	} {
		t.Run(fmt.Sprintf("%q with kernel %v and fuse %v", c.mounter, c.kernel == nil, c.fuse == nil), func(t *testing.T) {
			f := newFixture(t)
			f.kernel.unavailable, f.fuse.unavailable = c.kernel, c.fuse
			spec := f.spec()
			spec.Context["mounter"] = c.mounter
			wantError(t, f.Stage(t.Context(), spec), c.err)
			if got := len(f.kernel.mounts); got != 0 != (c.want == "kernel") {
				t.Errorf("%d mounts of the kernel", got)
			}
			if got := len(f.fuse.mounts); got != 0 != (c.want == "fuse") {
				t.Errorf("%d mounts of fuse", got)
			}
		})
	}
}

func TestStageRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		context map[string]string
		options []string
		secrets map[string]string
		says    string
	}{
		"no secret":                  {secrets: map[string]string{}, says: "node-stage-secret-name"},
		"no key":                     {secrets: map[string]string{"userID": "u1"}, says: "userKey"},
		"a user with client.":        {secrets: map[string]string{"userID": "client.u1", "userKey": testKey}, says: "userID"},
		"a user that is an option":   {secrets: map[string]string{"userID": "-x", "userKey": testKey}, says: "userID"},
		"a user with a comma":        {secrets: map[string]string{"userID": "u,name=admin", "userKey": testKey}, says: "userID"},
		"another volume's path":      {context: map[string]string{"path": "/volumes/team/other/5e1f"}, says: "path"},
		"an unknown cluster":         {context: map[string]string{"clusterID": "prod"}, says: "clusterID"},
		"a fuse option nobody knows": {context: map[string]string{"fuseMountOptions": "secret=x"}, says: "fuseMountOptions"},
		"a kernel option of fuse":    {context: map[string]string{"kernelMountOptions": "big_writes"}, says: "kernelMountOptions"},
		"one client's option (auto)": {options: []string{"big_writes"}, says: "mounter kernel"},
		"the other's option (auto)":  {options: []string{"wsize=4096"}, says: "mounter fuse"},
		"kernel's option for fuse":   {context: map[string]string{"mounter": "fuse"}, options: []string{"wsize=4096"}, says: "mounter fuse"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			spec := f.spec()
			for k, v := range c.context {
				spec.Context[k] = v
			}
			spec.Options = c.options
			if c.secrets != nil {
				spec.Secrets = c.secrets
			}
			err := f.Stage(t.Context(), spec)
			wantError(t, err, volume.ErrInvalid)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q doesn't say %q", err, c.says)
			}
			if len(f.fuse.mounts) != 0 {
				t.Error("something was mounted")
			}
		})
	}
	f := newFixture(t)
	if err := f.CheckContext(writable, func() map[string]string { c := writableContext(); c["mounter"] = "fuse"; return c }(), []string{"big_writes"}); err != nil {
		t.Errorf("an option of the mounter asked for: %v", err)
	}
}

func TestUnstageTakesOnlyTheVolume(t *testing.T) {
	t.Run("not another volume", func(t *testing.T) {
		f := newFixture(t)
		wantError(t, f.Stage(t.Context(), f.spec()), nil)
		wantError(t, f.Unstage(t.Context(), writable+"2", f.dir), volume.ErrPrecondition)
		wantError(t, f.Staged(t.Context(), writable, f.dir), nil)
	})
	t.Run("not what is below its own", func(t *testing.T) {
		f := newFixture(t)
		mountpointtest.TmpFS(t, f.dir)
		wantError(t, unix.Mount(sourceOf(writable), f.dir, "tmpfs", 0, ""), nil)
		wantError(t, f.Unstage(t.Context(), writable, f.dir), volume.ErrPrecondition)
		if m, _, err := mountpoint.Find(f.dir); err != nil || m == nil || m.Source != "strata-test" {
			t.Errorf("left: %+v, %v", m, err)
		}
	})
	t.Run("a dead one", func(t *testing.T) {
		f := newFixture(t)
		fuseMount(t, writable, f.dir, true)
		wantError(t, f.Unstage(t.Context(), writable, f.dir), nil)
		wantError(t, f.Staged(t.Context(), writable, f.dir), volume.ErrNotFound)
	})
	t.Run("not one that is busy", func(t *testing.T) {
		f := newFixture(t)
		wantError(t, f.Stage(t.Context(), f.spec()), nil)
		file, err := os.Create(filepath.Join(f.dir, "open"))
		wantError(t, err, nil)
		defer file.Close()
		wantError(t, f.Unstage(t.Context(), writable, f.dir), volume.ErrUnavailable)
		wantError(t, f.Staged(t.Context(), writable, f.dir), nil)
		if len(f.fuse.ended) != 0 {
			t.Error("the mounter was told that it is unmounted")
		}
	})
}

func TestAFailedMountLeavesNothing(t *testing.T) {
	f := newFixture(t)
	f.fuse.fail = fmt.Errorf("%w: no", volume.ErrDenied)
	wantError(t, f.Stage(t.Context(), f.spec()), volume.ErrDenied)
	wantError(t, f.Staged(t.Context(), writable, f.dir), volume.ErrNotFound)
}

func TestSnapshotBackedVolume(t *testing.T) {
	t.Run("shows the snapshot alone, at one path", func(t *testing.T) {
		f := newFixture(t)
		for range 2 {
			wantError(t, f.Stage(t.Context(), f.snapSpec()), nil)
		}
		if len(f.fuse.mounts) != 1 {
			t.Errorf("%d mounts", len(f.fuse.mounts))
		}
		if m := f.fuse.mounts[0]; m.Path != "/volumes/team/other" || !m.ReadOnly {
			t.Errorf("mounted %+v", m)
		}
		m, _, err := mountpoint.Find(f.dir)
		if err != nil || m == nil || m.Root != "/.snap/s_1/5e1f" || !m.ReadOnly() {
			t.Errorf("shows %+v, %v", m, err)
		}
		if _, err := os.Stat(filepath.Join(f.dir, ".snap")); !os.IsNotExist(err) {
			t.Errorf(".snap is reachable: %v", err)
		}
		wantError(t, os.WriteFile(filepath.Join(f.dir, "x"), nil, 0o600), unix.EROFS)
		wantError(t, f.Unstage(t.Context(), snapped, f.dir), nil)
		wantError(t, f.Staged(t.Context(), snapped, f.dir), volume.ErrNotFound)
	})
	t.Run("an interrupted staging is not taken for the volume and is done again", func(t *testing.T) {
		f := newFixture(t)
		wantError(t, unix.Mount(sourceOf(snapped), f.dir, "tmpfs", 0, ""), nil)
		wantError(t, f.Staged(t.Context(), snapped, f.dir), volume.ErrNotFound)
		wantError(t, f.Stage(t.Context(), f.snapSpec()), nil)
		if m, _, err := mountpoint.Find(f.dir); err != nil || m.Stacked != 2 {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("a snapshot that is gone", func(t *testing.T) {
		f := newFixture(t)
		spec := f.snapSpec()
		spec.Context["path"] = "/volumes/team/other/.snap/s2/5e1f"
		wantError(t, f.Stage(t.Context(), spec), volume.ErrNotFound)
		if _, ok, err := mountpoint.Find(f.dir); ok || err != nil {
			t.Errorf("the subvolume stays mounted: %v", err)
		}
	})
}

func TestDeadAndSilentMounts(t *testing.T) {
	t.Run("a dead mount is replaced", func(t *testing.T) {
		f := newFixture(t)
		fuseMount(t, writable, f.dir, true)
		wantError(t, f.Staged(t.Context(), writable, f.dir), volume.ErrUnavailable)
		wantError(t, f.Stage(t.Context(), f.spec()), nil)
		wantError(t, f.Staged(t.Context(), writable, f.dir), nil)
		if m, _, err := mountpoint.Find(f.dir); err != nil || m.Stacked != 1 {
			t.Errorf("%+v, %v", m, err)
		}
	})
	t.Run("the mount of an evicted client is replaced", func(t *testing.T) {
		f := newFixture(t)
		mountpointtest.CutFrom(t, sourceOf(writable), f.dir, unix.ESHUTDOWN)
		wantError(t, f.Staged(t.Context(), writable, f.dir), volume.ErrUnavailable)
		wantError(t, f.Stage(t.Context(), f.spec()), nil)
		wantError(t, f.Staged(t.Context(), writable, f.dir), nil)
	})
	t.Run("another volume's dead mount is not touched", func(t *testing.T) {
		f := newFixture(t)
		fuseMount(t, writable+"2", f.dir, true)
		wantError(t, f.Stage(t.Context(), f.spec()), volume.ErrExists)
	})
	t.Run("a silent mount is left to come back", func(t *testing.T) {
		f := newFixture(t)
		fuseMount(t, writable, f.dir, false)
		ctx, cancel := contextWithMillis(t, 100)
		defer cancel()
		wantError(t, f.Stage(ctx, f.spec()), volume.ErrUnavailable)
		if len(f.fuse.mounts) != 0 {
			t.Error("mounted over it")
		}
	})
}

func TestAStagingPathThatLostItsMountIsRestored(t *testing.T) {
	setUp := func(t *testing.T, readOnly bool) (*fixture, string) {
		f := newFixture(t)
		pod := t.TempDir()
		wantError(t, f.Stage(t.Context(), f.spec()), nil)
		wantError(t, mountpoint.Bind(f.dir, pod, readOnly), nil)
		t.Cleanup(func() {
			if err := unix.Unmount(pod, 0); err != nil {
				t.Error(err)
			}
		})
		wantError(t, unix.Unmount(f.dir, 0), nil)
		f.fuse.serving = []string{pod}
		return f, pod
	}
	t.Run("from a pod's mount", func(t *testing.T) {
		f, pod := setUp(t, false)
		wantError(t, f.Stage(t.Context(), f.spec()), nil)
		if len(f.fuse.mounts) != 1 {
			t.Errorf("%d mounts: the client of the pod would have been ended", len(f.fuse.mounts))
		}
		wantError(t, os.WriteFile(filepath.Join(f.dir, "x"), nil, 0o600), nil)
		if _, err := os.Stat(filepath.Join(pod, "x")); err != nil {
			t.Errorf("not the pod's file system: %v", err)
		}
	})
	t.Run("not for writing from a pod that only reads", func(t *testing.T) {
		f, _ := setUp(t, true)
		wantError(t, f.Stage(t.Context(), f.spec()), volume.ErrUnavailable)
		if len(f.fuse.mounts) != 1 {
			t.Errorf("%d mounts", len(f.fuse.mounts))
		}
	})
	t.Run("not past a pod that doesn't answer", func(t *testing.T) {
		f, pod := setUp(t, false)
		silent := filepath.Join(t.TempDir(), "silent")
		wantError(t, os.Mkdir(silent, 0o750), nil)
		fuseMount(t, writable, silent, false)
		t.Cleanup(func() { _ = unix.Unmount(silent, unix.MNT_DETACH) })
		f.fuse.serving = []string{silent}
		ctx, cancel := contextWithMillis(t, 200)
		defer cancel()
		wantError(t, f.Stage(ctx, f.spec()), volume.ErrUnavailable)
		if len(f.fuse.mounts) != 1 {
			t.Errorf("%d mounts: the client of %s would have been asked to end", len(f.fuse.mounts), pod)
		}
	})
	t.Run("not from a mount of a part of the volume", func(t *testing.T) {
		f, pod := setUp(t, false)
		sub := filepath.Join(pod, "sub")
		wantError(t, os.Mkdir(sub, 0o750), nil)
		part := filepath.Join(t.TempDir(), "part")
		wantError(t, os.Mkdir(part, 0o750), nil)
		wantError(t, mountpoint.Bind(sub, part, false), nil)
		t.Cleanup(func() { _ = unix.Unmount(part, 0) })
		f.fuse.serving = []string{part}
		err := f.Stage(t.Context(), f.spec())
		wantError(t, err, volume.ErrUnavailable)
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q doesn't say where", err)
		}
	})
	t.Run("anew when only dead mounts are left", func(t *testing.T) {
		f, _ := setUp(t, false)
		dead := filepath.Join(t.TempDir(), "dead")
		wantError(t, os.Mkdir(dead, 0o750), nil)
		mountpointtest.CutFrom(t, sourceOf(writable), dead, unix.ESHUTDOWN)
		f.fuse.serving = []string{dead}
		wantError(t, f.Stage(t.Context(), f.spec()), nil)
		if len(f.fuse.mounts) != 2 {
			t.Errorf("%d mounts", len(f.fuse.mounts))
		}
	})
	t.Run("anew when no client serves the path", func(t *testing.T) {
		f, _ := setUp(t, false)
		f.fuse.serving = nil
		wantError(t, f.Stage(t.Context(), f.spec()), nil)
		if len(f.fuse.mounts) != 2 {
			t.Errorf("%d mounts", len(f.fuse.mounts))
		}
	})
}
