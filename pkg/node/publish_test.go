package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestReadOnlyIsHonoured(t *testing.T) {
	for name, change := range map[string]func(*csi.NodePublishVolumeRequest){
		"by the request": func(r *csi.NodePublishVolumeRequest) { r.Readonly = true },
		"by the access mode": func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability = capability(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)
		},
		"by a one-node access mode": func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability = capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.stage(t)
			r := f.publishRequest()
			change(r)
			for range 2 {
				if _, err := f.NodePublishVolume(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			wantError(t, os.WriteFile(filepath.Join(f.target, "x"), nil, 0o600), unix.EROFS)
			wantError(t, os.WriteFile(filepath.Join(f.staging, "x"), nil, 0o600), nil)
			_, err := f.NodePublishVolume(t.Context(), f.publishRequest())
			wantError(t, err, volume.ErrExists)
			if n := stacked(t, f.target); n != 1 {
				t.Errorf("%d mounts", n)
			}
		})
	}
}

// renewed is a tier that takes other secrets.
type renewed struct {
	tier.Stager
	got  []string
	fail error
}

func (r *renewed) Renew(_ context.Context, _ volume.ID, path string, secrets map[string]string) error {
	r.got = append(r.got, path+" "+secrets["token"])
	return r.fail
}

func TestSecretsAreHandedOnWhenAVolumeIsPublishedAgain(t *testing.T) {
	f := newFixture(t)
	f.stage(t)
	r := &renewed{Stager: f.stager}
	nodes := tier.Nodes{}
	nodes.Register(volume.Warm, r)
	s, err := New(Config{NodeID: "n1", Tiers: nodes, Locks: new(keylock.Locks), Unmounter: mountpoint.NewUnmounter(mountpoint.NewProber(0))})
	if err != nil {
		t.Fatal(err)
	}
	request := f.publishRequest()
	for _, token := range []string{"1", "2", "", "3"} {
		if request.Secrets = map[string]string{"token": token}; token == "" {
			request.Secrets = nil
		}
		if token == "3" {
			r.fail = volume.ErrUnavailable // a pod keeps its volume, and gets it
		}
		if _, err := s.NodePublishVolume(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{f.staging + " 1", f.staging + " 2", f.staging + " 3"}; !slices.Equal(r.got, want) {
		t.Errorf("handed on %q, want %q", r.got, want)
	}
	if n := stacked(t, f.target); n != 1 {
		t.Errorf("%d mounts", n)
	}
}

func TestAReadOnlyVolumeIsPublishedAsItIs(t *testing.T) {
	f := newFixture(t)
	s := f.stageRequest()
	s.VolumeCapability = capability(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)
	if _, err := f.NodeStageVolume(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f.publish(t)
	}
	wantError(t, os.WriteFile(filepath.Join(f.target, "x"), nil, 0o600), unix.EROFS)
}

func TestPublishReadWriteWhereItIsReadOnlyIsRefused(t *testing.T) {
	f := newFixture(t)
	f.stage(t)
	f.publish(t)
	r := f.publishRequest()
	r.Readonly = true
	_, err := f.NodePublishVolume(t.Context(), r)
	wantError(t, err, volume.ErrExists)
	wantError(t, os.WriteFile(filepath.Join(f.target, "x"), nil, 0o600), nil)
}

func TestSingleWriterIsPublishedOnce(t *testing.T) {
	f := newFixture(t)
	f.stage(t)
	r := f.publishRequest()
	r.VolumeCapability = capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER)
	for range 2 {
		if _, err := f.NodePublishVolume(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	f.Server = f.restart(t) // the first path is known from the mount table alone
	first := r.TargetPath
	r.TargetPath += "2"
	_, err := f.NodePublishVolume(t.Context(), r)
	wantError(t, err, volume.ErrPrecondition)
	if !strings.Contains(err.Error(), first) {
		t.Errorf("%q doesn't say where it is published", err)
	}
	if _, err := os.Lstat(r.TargetPath); !os.IsNotExist(err) {
		t.Errorf("a refused publish left its directory: %v", err)
	}
	wantError(t, f.unpublish(t, id, first), nil)
	if _, err := f.NodePublishVolume(t.Context(), r); err != nil {
		t.Errorf("after unpublish: %v", err)
	}
}

// Kubelet binds parts of the volume for a container's subPath, and publishes again after its restart.
func TestSingleWriterIsNotMistakenForItsSubPath(t *testing.T) {
	f := newFixture(t)
	f.stage(t)
	r := f.publishRequest()
	r.VolumeCapability = capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER)
	_, err := f.NodePublishVolume(t.Context(), r)
	wantError(t, err, nil)
	part, sub := filepath.Join(f.target, "part"), filepath.Join(filepath.Dir(f.target), "sub")
	wantError(t, os.Mkdir(part, 0o750), nil)
	wantError(t, os.Mkdir(sub, 0o750), nil)
	wantError(t, mountpoint.Bind(part, sub, false), nil)
	_, err = f.NodePublishVolume(t.Context(), r)
	wantError(t, err, nil)
}

// A kubelet directory that is visible at a second path with shared propagation shows every mount twice.
func TestSingleWriterIsNotMistakenForItsPropagatedCopy(t *testing.T) {
	f := newFixture(t)
	dir, twin := filepath.Dir(f.staging), t.TempDir()
	for _, err := range []error{
		unix.Mount(dir, dir, "", unix.MS_BIND, ""), unix.Mount("", dir, "", unix.MS_SHARED, ""), unix.Mount(dir, twin, "", unix.MS_BIND, ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, p := range []string{twin, dir} {
			if err := unix.Unmount(p, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	})
	f.stage(t)
	r := f.publishRequest()
	r.VolumeCapability = capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER)
	for range 2 {
		if _, err := f.NodePublishVolume(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if stacked(t, filepath.Join(twin, "pod", "mount")) != 1 {
		t.Fatal("the mount is not visible at the second path: the test proves nothing")
	}
	r.TargetPath += "2"
	_, err := f.NodePublishVolume(t.Context(), r)
	wantError(t, err, volume.ErrPrecondition)
}

func TestPublishOfWhatIsNotStaged(t *testing.T) {
	f := newFixture(t)
	_, err := f.NodePublishVolume(t.Context(), f.publishRequest())
	wantError(t, err, volume.ErrPrecondition)
	if _, err := os.Lstat(f.target); !os.IsNotExist(err) {
		t.Errorf("a failed publish left its directory: %v", err)
	}
	r := f.publishRequest()
	r.Secrets = f.secrets
	if _, err := f.NodePublishVolume(t.Context(), r); err != nil {
		t.Fatalf("with secrets it is staged first: %v", err)
	}
	if stacked(t, f.staging) != 1 || stacked(t, f.target) != 1 {
		t.Error("not mounted")
	}
}

func TestPublishNeverHidesAnything(t *testing.T) {
	t.Run("a stranger's mount", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		wantError(t, os.Mkdir(f.target, 0o750), nil)
		mountpointtest.TmpFS(t, f.target)
		_, err := f.NodePublishVolume(t.Context(), f.publishRequest())
		wantError(t, err, volume.ErrExists)
		if n := stacked(t, f.target); n != 1 {
			t.Errorf("%d mounts", n)
		}
	})
	t.Run("files", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		wantError(t, os.Mkdir(f.target, 0o750), nil)
		wantError(t, os.WriteFile(filepath.Join(f.target, "lost"), nil, 0o600), nil)
		_, err := f.NodePublishVolume(t.Context(), f.publishRequest())
		wantError(t, err, volume.ErrPrecondition)
		wantError(t, f.unpublish(t, id, f.target), volume.ErrPrecondition)
		if _, err := os.Stat(filepath.Join(f.target, "lost")); err != nil {
			t.Errorf("the file is gone: %v", err)
		}
	})
	t.Run("files at the staging path", func(t *testing.T) {
		f := newFixture(t)
		wantError(t, os.WriteFile(filepath.Join(f.staging, "lost"), nil, 0o600), nil)
		_, err := f.NodeStageVolume(t.Context(), f.stageRequest())
		wantError(t, err, volume.ErrPrecondition)
	})
	t.Run("a symbolic link's target", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		victim := t.TempDir()
		wantError(t, os.Symlink(victim, f.target), nil)
		_, err := f.NodePublishVolume(t.Context(), f.publishRequest())
		wantError(t, err, volume.ErrInvalid)
		if stacked(t, victim) != 0 {
			t.Error("mounted through the link")
		}
	})
	t.Run("the volume itself", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		link := filepath.Join(filepath.Dir(f.staging), "link")
		wantError(t, os.Symlink(f.staging, link), nil)
		for _, target := range []string{f.staging + "/sub", filepath.Dir(f.staging), f.staging, link + "/sub"} {
			r := f.publishRequest()
			r.TargetPath = target
			_, err := f.NodePublishVolume(t.Context(), r)
			wantError(t, err, volume.ErrInvalid)
		}
	})
	t.Run("a missing parent", func(t *testing.T) {
		f := newFixture(t)
		f.stage(t)
		r := f.publishRequest()
		r.TargetPath = filepath.Join(filepath.Dir(f.target), "absent", "mount")
		_, err := f.NodePublishVolume(t.Context(), r)
		wantError(t, err, volume.ErrInvalid)
	})
}

func TestUnpublishWorksByPathWhenTheIDMeansNothing(t *testing.T) {
	for _, other := range []string{"x", "cold:lab:bucket", "../../etc", strings.Repeat("v", 300), "volume ü"} {
		t.Run(other, func(t *testing.T) {
			f := newFixture(t)
			f.stage(t)
			f.publish(t)
			wantError(t, f.unpublish(t, other, f.target), nil)
			if _, err := os.Lstat(f.target); !os.IsNotExist(err) {
				t.Errorf("the target is still there: %v", err)
			}
			_, err := f.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: other, StagingTargetPath: f.staging})
			wantError(t, err, nil)
			if stacked(t, f.staging) != 0 {
				t.Error("still staged")
			}
		})
	}
}

func TestUnpublishOfABusyPathIsAnError(t *testing.T) {
	f := newFixture(t)
	f.stage(t)
	f.publish(t)
	file, err := os.Create(filepath.Join(f.target, "open"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	wantError(t, f.unpublish(t, id, f.target), volume.ErrUnavailable)
	wantError(t, f.unpublish(t, id, f.target), mountpoint.ErrBusy)
	wantError(t, file.Close(), nil)
	wantError(t, f.unpublish(t, id, f.target), nil)
}
