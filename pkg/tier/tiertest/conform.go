package tiertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// Subject is a node backend under test with two writable volumes that exist and are not mounted.
type Subject struct {
	Stager         tier.Stager
	Volume, Other  volume.ID
	Context        map[string]string // of Volume
	OtherContext   map[string]string
	Secrets        map[string]string
	BadContext     map[string]string // one that Stage refuses for Volume
	SecretsMissing bool              // Stage of a volume without secrets must fail
}

// Conform checks what pkg/node relies on in every node backend.
func Conform(t *testing.T, s Subject) {
	mountpointtest.RequireRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	spec := func(path string) tier.StageSpec {
		return tier.StageSpec{ID: s.Volume, Path: path, Context: s.Context, Secrets: s.Secrets}
	}
	newDir := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "stage")
		if err := os.Mkdir(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Stager.Unstage(context.WithoutCancel(ctx), s.Volume, dir); err != nil {
				t.Errorf("unstage at the end: %v", err)
			}
		})
		return dir
	}
	want := func(t *testing.T, what string, err, want error) {
		t.Helper()
		if want == nil && err != nil || !errors.Is(err, want) {
			t.Fatalf("%s: got error %v, want %v", what, err, want)
		}
	}

	t.Run("stage and unstage, each twice", func(t *testing.T) {
		dir := newDir(t)
		want(t, "staged before", s.Stager.Staged(ctx, s.Volume, dir), volume.ErrNotFound)
		want(t, "unstage before", s.Stager.Unstage(ctx, s.Volume, dir), nil)
		want(t, "stage", s.Stager.Stage(ctx, spec(dir)), nil)
		first, _, err := mountpoint.Find(dir)
		want(t, "mount table", err, nil)
		want(t, "staged", s.Stager.Staged(ctx, s.Volume, dir), nil)
		want(t, "write", os.WriteFile(filepath.Join(dir, "tiertest"), []byte("x"), 0o600), nil)
		want(t, "stage again", s.Stager.Stage(ctx, spec(dir)), nil)
		again, _, err := mountpoint.Find(dir)
		want(t, "mount table", err, nil)
		if first == nil || again == nil || first.ID != again.ID || first.Stacked != again.Stacked {
			t.Errorf("staging twice changed the mount: %+v, then %+v", first, again)
		}
		want(t, "remove", os.Remove(filepath.Join(dir, "tiertest")), nil)
		want(t, "unstage", s.Stager.Unstage(ctx, s.Volume, dir), nil)
		want(t, "unstage again", s.Stager.Unstage(ctx, s.Volume, dir), nil)
		want(t, "staged after", s.Stager.Staged(ctx, s.Volume, dir), volume.ErrNotFound)
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("unstage took the directory away: %v", err)
		}
	})
	t.Run("a bind of the staged mount is the volume too", func(t *testing.T) {
		dir, bound := newDir(t), newDir(t)
		want(t, "stage", s.Stager.Stage(ctx, spec(dir)), nil)
		want(t, "bind", mountpoint.Bind(dir, bound, true), nil)
		want(t, "staged at the bind", s.Stager.Staged(ctx, s.Volume, bound), nil)
	})
	t.Run("another volume's mount is refused", func(t *testing.T) {
		dir := newDir(t)
		want(t, "stage", s.Stager.Stage(ctx, spec(dir)), nil)
		want(t, "staged of the other", s.Stager.Staged(ctx, s.Other, dir), volume.ErrExists)
		other := tier.StageSpec{ID: s.Other, Path: dir, Context: s.OtherContext, Secrets: s.Secrets}
		want(t, "stage of the other", s.Stager.Stage(ctx, other), volume.ErrExists)
		want(t, "staged still", s.Stager.Staged(ctx, s.Volume, dir), nil)
	})
	t.Run("a stranger's mount is refused", func(t *testing.T) {
		dir := newDir(t)
		mountpointtest.TmpFS(t, dir)
		want(t, "staged", s.Stager.Staged(ctx, s.Volume, dir), volume.ErrExists)
		want(t, "stage", s.Stager.Stage(ctx, spec(dir)), volume.ErrExists)
	})
	t.Run("read-only is honoured and not silently changed", func(t *testing.T) {
		dir := newDir(t)
		ro := spec(dir)
		ro.ReadOnly = true
		want(t, "stage", s.Stager.Stage(ctx, ro), nil)
		want(t, "write", os.WriteFile(filepath.Join(dir, "x"), nil, 0o600), unix.EROFS)
		want(t, "stage again", s.Stager.Stage(ctx, ro), nil)
		want(t, "stage read-write", s.Stager.Stage(ctx, spec(dir)), volume.ErrExists)
	})
	t.Run("a bad context is refused before anything is mounted", func(t *testing.T) {
		dir := newDir(t)
		bad := spec(dir)
		bad.Context = s.BadContext
		want(t, "check", s.Stager.CheckContext(s.Volume, s.BadContext, nil), volume.ErrInvalid)
		want(t, "stage", s.Stager.Stage(ctx, bad), volume.ErrInvalid)
		want(t, "check of the good one", s.Stager.CheckContext(s.Volume, s.Context, nil), nil)
		if s.SecretsMissing {
			bare := spec(dir)
			bare.Secrets = nil
			want(t, "stage without secrets", s.Stager.Stage(ctx, bare), volume.ErrInvalid)
		}
		want(t, "staged", s.Stager.Staged(ctx, s.Volume, dir), volume.ErrNotFound)
	})
}
