package tiertest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// check fails the test when a step's error isn't the one that is wanted.
func check(t *testing.T, what string, err, want error) {
	t.Helper()
	if want == nil && err != nil || !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

// InlineSubject is an InlinePublisher under test, with two inline volumes that don't exist.
type InlineSubject struct {
	Publisher     tier.InlinePublisher
	Volume        tier.InlineSpec   // both volumes are as this; with a pod, without ID, Path and ReadOnly
	BadAttributes map[string]string // that CheckInline refuses
}

// ConformInline checks what pkg/node relies on in every InlinePublisher.
func ConformInline(t *testing.T, s InlineSubject) {
	mountpointtest.RequireRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := s.Publisher
	// As kubelet makes ids and targets of the pod and of the volume's name in it (makeVolumeHandle and getTargetPath of its csi_mounter.go).
	idOf := func(name string) string {
		sum := sha256.Sum256([]byte(s.Volume.Pod.UID + name))
		return "csi-" + hex.EncodeToString(sum[:])
	}
	one, other := idOf("one"), idOf("other")
	dirOf := func(t *testing.T, name string) string {
		volumeDir := filepath.Join(t.TempDir(), "pods", s.Volume.Pod.UID, "volumes", "kubernetes.io~csi", name)
		dir := filepath.Join(volumeDir, "mount")
		check(t, "mkdir", errors.Join(os.MkdirAll(volumeDir, 0o750), os.Mkdir(dir, 0)), nil)
		t.Cleanup(func() {
			if err := p.UnpublishInline(context.WithoutCancel(ctx), idOf(name), dir); err != nil {
				t.Errorf("unpublish at the end: %v", err)
			}
		})
		return dir
	}
	newDir := func(t *testing.T) string { return dirOf(t, "one") }
	spec := func(path string) tier.InlineSpec {
		out := s.Volume
		out.ID, out.Path = idOf(filepath.Base(filepath.Dir(path))), path
		return out
	}
	t.Run("publish and unpublish, each twice", func(t *testing.T) {
		dir := newDir(t)
		check(t, "published before", p.PublishedInline(ctx, one, dir), volume.ErrNotFound)
		check(t, "unpublish before", p.UnpublishInline(ctx, one, dir), nil)
		check(t, "check", p.CheckInline(spec(dir)), nil)
		for range 2 {
			check(t, "publish", p.PublishInline(ctx, spec(dir)), nil)
			check(t, "published", p.PublishedInline(ctx, one, dir), nil)
		}
		if m, ok, err := mountpoint.Find(dir); err != nil || !ok || m.Stacked != 1 {
			t.Errorf("mount %+v, %v", m, err)
		}
		check(t, "write", os.WriteFile(filepath.Join(dir, "tiertest"), []byte("x"), 0o600), nil)
		if u, err := p.InlineUsage(ctx, one, dir); err != nil || u.TotalBytes <= 0 || u.UsedBytes+u.AvailableBytes > u.TotalBytes {
			t.Errorf("usage %+v, %v", u, err)
		}
		if c, err := p.InlineHealth(ctx, one, dir); err != nil || len(c) > 0 {
			t.Errorf("health %v, %v", c, err)
		}
		for range 2 {
			check(t, "unpublish", p.UnpublishInline(ctx, one, dir), nil)
			check(t, "published after", p.PublishedInline(ctx, one, dir), volume.ErrNotFound)
		}
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("unpublish took the directory away: %v", err)
		}
		check(t, "publish anew", p.PublishInline(ctx, spec(dir)), nil)
		if _, err := os.Stat(filepath.Join(dir, "tiertest")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a new volume holds what the last one held: %v", err)
		}
	})
	t.Run("another volume's mount is another's", func(t *testing.T) {
		dir := newDir(t)
		check(t, "publish", p.PublishInline(ctx, spec(dir)), nil)
		check(t, "published of the other", p.PublishedInline(ctx, other, dir), volume.ErrExists)
		mountpointtest.TmpFS(t, dir)
		check(t, "published below a stranger's", p.PublishedInline(ctx, one, dir), volume.ErrExists)
		if err := p.UnpublishInline(ctx, one, dir); err == nil {
			t.Error("unpublish took a stranger's mount away")
		}
		if m, ok, err := mountpoint.Find(dir); err != nil || !ok || m.Stacked != 2 {
			t.Errorf("left: %+v, %v", m, err)
		}
		check(t, "umount", unix.Unmount(dir, 0), nil)
		// A volume that was once given up may be worth nothing any more; that it goes is what counts.
		check(t, "unpublish again", p.UnpublishInline(ctx, one, dir), nil)
		check(t, "published after", p.PublishedInline(ctx, one, dir), volume.ErrNotFound)
	})
	t.Run("two at once", func(t *testing.T) {
		at, otherAt := newDir(t), dirOf(t, "other")
		check(t, "publish", p.PublishInline(ctx, spec(at)), nil)
		check(t, "publish the other", p.PublishInline(ctx, spec(otherAt)), nil)
		check(t, "unpublish the other", p.UnpublishInline(ctx, other, otherAt), nil)
		check(t, "published", p.PublishedInline(ctx, one, at), nil)
		check(t, "published of the other", p.PublishedInline(ctx, other, otherAt), volume.ErrNotFound)
	})
	t.Run("read-only is honoured", func(t *testing.T) {
		dir := newDir(t)
		ro := spec(dir)
		ro.ReadOnly = true
		check(t, "publish", p.PublishInline(ctx, ro), nil)
		check(t, "write", os.WriteFile(filepath.Join(dir, "x"), nil, 0o600), unix.EROFS)
		check(t, "published", p.PublishedInline(ctx, one, dir), nil)
	})
	t.Run("the pod's group", func(t *testing.T) {
		dir := newDir(t)
		group := uint32(4321)
		of := spec(dir)
		of.Group = &group
		for range 2 {
			check(t, "publish", p.PublishInline(ctx, of), nil)
			check(t, "mkdir", os.MkdirAll(filepath.Join(dir, "made", "here"), 0o700), nil)
			for _, path := range []string{dir, filepath.Join(dir, "made"), filepath.Join(dir, "made", "here")} {
				var st unix.Stat_t
				check(t, "stat", unix.Stat(path, &st), nil)
				if st.Gid != group || st.Mode&unix.S_ISGID == 0 || path == dir && st.Mode&0o777 != 0o777 {
					t.Errorf("%s has mode %o and group %d", path, st.Mode, st.Gid)
				}
			}
		}
	})
	t.Run("what is refused leaves nothing", func(t *testing.T) {
		dir := newDir(t)
		bad := spec(dir)
		bad.Attributes = s.BadAttributes
		check(t, "check", p.CheckInline(bad), volume.ErrInvalid)
		check(t, "publish", p.PublishInline(ctx, bad), volume.ErrInvalid)
		check(t, "published", p.PublishedInline(ctx, one, dir), volume.ErrNotFound)
	})
}

// BlockSubject is a BlockStager under test with a volume that isn't staged.
type BlockSubject struct {
	Stager interface {
		tier.Stager
		tier.BlockStager
	}
	Volume  volume.ID
	Context map[string]string
	Secrets map[string]string
}

// ConformBlock checks what pkg/node relies on in every BlockStager.
func ConformBlock(t *testing.T, s BlockSubject) {
	mountpointtest.RequireRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	spec := tier.StageSpec{ID: s.Volume, Path: dir, Context: s.Context, Secrets: s.Secrets, Block: true}
	t.Cleanup(func() {
		if err := s.Stager.Unstage(context.WithoutCancel(ctx), s.Volume, dir); err != nil {
			t.Errorf("unstage at the end: %v", err)
		}
	})
	none := func(what string) {
		t.Helper()
		_, err := s.Stager.BlockDevice(ctx, s.Volume)
		check(t, what, err, volume.ErrNotFound)
	}
	none("device before")
	check(t, "unstage before", s.Stager.Unstage(ctx, s.Volume, dir), nil)
	var node string
	for range 2 {
		check(t, "stage", s.Stager.Stage(ctx, spec), nil)
		got, err := s.Stager.BlockDevice(ctx, s.Volume)
		check(t, "device", err, nil)
		if node != "" && got != node {
			t.Errorf("staged again, the device is %s and was %s", got, node)
		}
		node = got
	}
	d, err := mountpoint.DeviceAt(node)
	check(t, "device node", err, nil)
	if size, err := d.Size(); err != nil || size <= 0 {
		t.Errorf("size %d, %v", size, err)
	}
	if m, ok, err := mountpoint.Find(dir); err != nil || ok {
		t.Errorf("mounted at the staging path: %+v, %v", m, err)
	}
	f, err := os.OpenFile(node, os.O_RDWR|unix.O_EXCL, 0)
	check(t, "open", err, nil)
	_, err = f.Write(make([]byte, 4096))
	check(t, "write", errors.Join(err, f.Sync(), f.Close()), nil)
	for range 2 {
		check(t, "unstage", s.Stager.Unstage(ctx, s.Volume, dir), nil)
		none("device after")
	}
	check(t, "stage as files", s.Stager.Stage(ctx, tier.StageSpec{ID: s.Volume, Path: dir, Context: s.Context, Secrets: s.Secrets}), nil)
	none("device of files")
}
