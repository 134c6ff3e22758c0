package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/tier/tiertest"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestLifeOfAnInlineVolume(t *testing.T) {
	f := newLocalFixture(t)
	for range 3 {
		wantError(t, f.publishWith(t, f.inlineRequest()), nil)
		f.again(t)
	}
	want := tier.InlineSpec{
		ID: inlineVolume, Path: f.target, Attributes: map[string]string{"size": "2097152"}, Pod: tier.Pod{Name: "p", Namespace: "ns", UID: "u"},
	}
	if got := f.disks.Published(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("the tier was asked for %+v, want %+v once", got, want)
	}
	if n := stacked(t, f.target); n != 1 {
		t.Errorf("%d mounts", n)
	}
	wantError(t, write(t, f.target), nil)
	for range 3 {
		wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
		f.nothing(t)
		f.again(t)
	}
	wantError(t, f.publishWith(t, f.inlineRequest()), nil)
	if _, err := os.Stat(filepath.Join(f.target, "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the volume is not empty: %v", err)
	}
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
}

func TestTheDirectoryBelowAnInlineVolumeIsNobodys(t *testing.T) {
	f := newLocalFixture(t)
	wantError(t, f.publishWith(t, f.inlineRequest()), nil)
	wantError(t, unix.Unmount(f.target, 0), nil)
	fi, err := os.Lstat(f.target)
	if err != nil || fi.Mode() != os.ModeDir {
		t.Errorf("got %v, %v", fi, err)
	}
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
	f.nothing(t)
}

func TestAnInlineVolumeIsAsItIsAskedFor(t *testing.T) {
	f := newLocalFixture(t)
	r := f.inlineRequest()
	r.VolumeCapability.GetMount().FsType = "xfs"
	r.VolumeCapability.GetMount().MountFlags = []string{"noatime"}
	r.Secrets = map[string]string{tokens: "eyJ-secret"} // where kubelet puts them with serviceAccountTokenInSecrets
	r.VolumeCapability.GetMount().VolumeMountGroup = "2000"
	r.Readonly = true
	for range 2 {
		wantError(t, f.publishWith(t, r), nil)
	}
	if got := f.disks.Published()[0]; got.FSType != "xfs" || got.Group == nil || *got.Group != 2000 || !reflect.DeepEqual(got.Options, []string{"noatime"}) || !got.ReadOnly {
		t.Errorf("got %+v", got)
	}
	wantError(t, write(t, f.target), unix.EROFS)
	r.Readonly = false
	wantError(t, f.publishWith(t, r), volume.ErrExists)
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
	wantError(t, f.publishWith(t, r), nil)
	wantError(t, write(t, f.target), nil)
	r.Readonly = true
	wantError(t, f.publishWith(t, r), volume.ErrExists)
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
	f.nothing(t)
}

func TestInlineRequestsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*csi.NodePublishVolumeRequest)
		says   string
		want   error // volume.ErrInvalid when nil
	}{
		"no id":                     {func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "" }, "volume_id", nil},
		"an id of a volume":         {func(r *csi.NodePublishVolumeRequest) { r.VolumeId = local }, "kubelet", nil},
		"an id too short":           {func(r *csi.NodePublishVolumeRequest) { r.VolumeId = r.VolumeId[:67] }, "kubelet", nil},
		"an id too long":            {func(r *csi.NodePublishVolumeRequest) { r.VolumeId += "0" }, "kubelet", nil},
		"an id in upper case":       {func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "csi-" + strings.Repeat("0A", 32) }, "kubelet", nil},
		"an id with a second line":  {func(r *csi.NodePublishVolumeRequest) { r.VolumeId += "\n" }, "kubelet", nil},
		"no target":                 {func(r *csi.NodePublishVolumeRequest) { r.TargetPath = "" }, "target_path", nil},
		"a target with ..":          {func(r *csi.NodePublishVolumeRequest) { r.TargetPath += "/../x" }, "clean", nil},
		"a target without a parent": {func(r *csi.NodePublishVolumeRequest) { r.TargetPath += "/a/b" }, "must exist", nil},
		"a staging path":            {func(r *csi.NodePublishVolumeRequest) { r.StagingTargetPath = "/stage" }, "staging_target_path", nil},
		"secrets":                   {func(r *csi.NodePublishVolumeRequest) { r.Secrets = map[string]string{"token": "s3cret"} }, "nodePublishSecretRef", nil},
		"no capability":             {func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = nil }, "volume_capability", nil},
		"raw block":                 {func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = block(rwo) }, "raw block", nil},
		"a mount group": {func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability.GetMount().VolumeMountGroup = "-1"
		}, "volume_mount_group", nil},
		"a forged key":    {func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["csi.storage.k8s.io/pv.name"] = "s3cret" }, "pv.name", nil},
		"the bare prefix": {func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["csi.storage.k8s.io/"] = "s3cret" }, "Kubernetes' own", nil},
		"an attribute that the tier doesn't know": {func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["path"] = "/" }, "path", nil},
		"no pod":  {func(r *csi.NodePublishVolumeRequest) { delete(r.VolumeContext, podUID) }, "uid", nil},
		"no room": {func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["size"] = "-1" }, "room", volume.ErrExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			f := newLocalFixture(t)
			r := f.inlineRequest()
			c.change(r)
			if c.want == nil {
				c.want = volume.ErrInvalid
			}
			err := f.publishWith(t, r)
			wantError(t, err, c.want)
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "eyJ") {
				t.Errorf("%q doesn't say %q, or too much", err, c.says)
			}
			if c.want == volume.ErrInvalid && len(f.disks.Published()) > 0 {
				t.Error("a refused request reached the tier")
			}
			f.nothing(t)
		})
	}
	t.Run("a target that kubelet made stays", func(t *testing.T) {
		f := newLocalFixture(t)
		wantError(t, os.Mkdir(f.target, 0o750), nil)
		r := f.inlineRequest()
		r.VolumeContext["path"] = "/"
		wantError(t, f.publishWith(t, r), volume.ErrInvalid)
		wantError(t, os.Remove(f.target), nil)
	})
	t.Run("kubelet doesn't say that it is inline", func(t *testing.T) {
		f := newLocalFixture(t)
		r := f.inlineRequest()
		delete(r.VolumeContext, ephemeral)
		err := f.publishWith(t, r)
		wantError(t, err, volume.ErrInvalid)
		if !strings.Contains(err.Error(), "podInfoOnMount") {
			t.Errorf("%q", err)
		}
	})
	t.Run("a node without such a tier", func(t *testing.T) {
		f := newFixture(t)
		r := (&localFixture{fixture: f}).inlineRequest()
		_, err := f.NodePublishVolume(t.Context(), r)
		wantError(t, err, volume.ErrInvalid)
		if !strings.Contains(err.Error(), "generic ephemeral") {
			t.Errorf("%q", err)
		}
	})
	t.Run("a persistent volume of a driver with podInfoOnMount", func(t *testing.T) {
		f := newLocalFixture(t)
		f.stage(t)
		r := f.publishRequest()
		r.VolumeContext = map[string]string{ephemeral: "false", podUID: "u"}
		wantError(t, f.publishWith(t, r), nil)
	})
}

func TestTwoInlinePublishersAreOneTooMany(t *testing.T) {
	f := newLocalFixture(t)
	nodes := tier.Nodes{}
	nodes.Register(volume.Scratch, f.disks)
	nodes.Register(volume.Cold, tiertest.NewLocal(t.TempDir()))
	_, err := New(Config{NodeID: "n1", Tiers: nodes, Locks: f.locks, Unmounter: f.unmounter})
	wantError(t, err, volume.ErrInvalid)
}

func TestInlinePublishNeverHidesAnything(t *testing.T) {
	t.Run("a stranger's mount", func(t *testing.T) {
		f := newLocalFixture(t)
		wantError(t, os.Mkdir(f.target, 0o750), nil)
		mountpointtest.TmpFS(t, f.target)
		wantError(t, f.publishWith(t, f.inlineRequest()), volume.ErrExists)
		wantError(t, f.unpublish(t, inlineVolume, f.target), volume.ErrPrecondition)
		if m, ok, err := mountpoint.Find(f.target); err != nil || !ok || m.Source != "strata-test" || m.Stacked != 1 {
			t.Errorf("left: %+v, %v", m, err)
		}
	})
	t.Run("another inline volume", func(t *testing.T) {
		f := newLocalFixture(t)
		wantError(t, f.publishWith(t, f.inlineRequest()), nil)
		r := f.inlineRequest()
		r.VolumeId = "csi-" + strings.Repeat("0b", 32)
		wantError(t, f.publishWith(t, r), volume.ErrExists)
		wantError(t, f.unpublish(t, r.VolumeId, f.target), volume.ErrPrecondition)
		wantError(t, write(t, f.target), nil)
		wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
	})
	t.Run("files", func(t *testing.T) {
		f := newLocalFixture(t)
		wantError(t, os.Mkdir(f.target, 0o750), nil)
		wantError(t, write(t, f.target), nil)
		wantError(t, f.publishWith(t, f.inlineRequest()), volume.ErrPrecondition)
		wantError(t, f.unpublish(t, inlineVolume, f.target), volume.ErrPrecondition)
		wantError(t, os.Remove(filepath.Join(f.target, "x")), nil)
		wantError(t, f.publishWith(t, f.inlineRequest()), nil)
		wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
		f.nothing(t)
	})
	t.Run("a file", func(t *testing.T) {
		f := newLocalFixture(t)
		wantError(t, os.WriteFile(f.target, nil, 0o600), nil)
		wantError(t, f.publishWith(t, f.inlineRequest()), volume.ErrInvalid)
	})
	t.Run("a symbolic link's target", func(t *testing.T) {
		f := newLocalFixture(t)
		victim := t.TempDir()
		wantError(t, os.Symlink(victim, f.target), nil)
		wantError(t, f.publishWith(t, f.inlineRequest()), volume.ErrInvalid)
		if stacked(t, victim) != 0 {
			t.Error("mounted through the link")
		}
		if err := f.unpublish(t, inlineVolume, f.target); err == nil {
			t.Error("unpublish removed a link that it didn't make")
		}
	})
}

func TestADeadInlineMountIsReplaced(t *testing.T) {
	f := newLocalFixture(t)
	wantError(t, f.publishWith(t, f.inlineRequest()), nil)
	wantError(t, unix.Unmount(f.target, 0), nil)
	mountpointtest.Dead(t, f.target)
	stats := func() error {
		_, err := f.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: inlineVolume, VolumePath: f.target})
		return err
	}
	wantError(t, stats(), volume.ErrUnavailable)
	wantError(t, f.publishWith(t, f.inlineRequest()), nil)
	wantError(t, stats(), nil)
	if n := stacked(t, f.target); n != 1 {
		t.Errorf("%d mounts", n)
	}
	wantError(t, unix.Unmount(f.target, 0), nil)
	mountpointtest.Dead(t, f.target)
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
	f.nothing(t)
}

// Kubelet publishes again after its restart. What the operator allows may have changed since.
func TestARepeatedInlinePublishAsksForNothing(t *testing.T) {
	f := newLocalFixture(t)
	wantError(t, f.publishWith(t, f.inlineRequest()), nil)
	r := f.inlineRequest()
	r.VolumeContext["class"] = "gone"
	wantError(t, f.publishWith(t, r), nil)
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
}

func TestAnInlinePublishThatWasInterruptedIsDoneAgain(t *testing.T) {
	f := newLocalFixture(t)
	wantError(t, os.Mkdir(f.target, 0), nil) // its directory was made, its mount was not
	wantError(t, f.publishWith(t, f.inlineRequest()), nil)
	if stacked(t, f.target) != 1 {
		t.Error("not mounted")
	}
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
}

func TestABusyInlineVolumeStays(t *testing.T) {
	f := newLocalFixture(t)
	wantError(t, f.publishWith(t, f.inlineRequest()), nil)
	file, err := os.Create(filepath.Join(f.target, "open"))
	wantError(t, err, nil)
	if err := f.unpublish(t, inlineVolume, f.target); err == nil || stacked(t, f.target) != 1 {
		t.Errorf("got %v", err)
	}
	wantError(t, file.Close(), nil)
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
	f.nothing(t)
}

func TestTenInlineCallsAtOnceMakeOneMount(t *testing.T) {
	f := newLocalFixture(t)
	atOnce := func(call func() error) {
		t.Helper()
		errs := make(chan error)
		for range 10 {
			go func() { errs <- call() }()
		}
		for range 10 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	}
	atOnce(func() error { _, err := f.NodePublishVolume(t.Context(), f.inlineRequest()); return err })
	if n := stacked(t, f.target); n != 1 || len(f.disks.Published()) != 1 {
		t.Errorf("%d mounts", n)
	}
	atOnce(func() error {
		_, err := f.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: inlineVolume, TargetPath: f.target})
		return err
	})
	f.nothing(t)
}

func TestAnInlineVolumeIsLocked(t *testing.T) {
	f := newLocalFixture(t)
	release, err := f.locks.TryAcquire(inlineVolume, "reaper")
	wantError(t, err, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.NodePublishVolume(ctx, f.inlineRequest())
	wantError(t, err, volume.ErrPending)
	_, err = f.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: inlineVolume, TargetPath: f.target})
	wantError(t, err, volume.ErrPending)
	release()
	wantError(t, f.publishWith(t, f.inlineRequest()), nil)
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
}

func TestAnInlineIDIsServedByPathWithoutItsTier(t *testing.T) {
	f := newFixture(t)
	f.stage(t)
	f.publish(t)
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
	if _, err := os.Lstat(f.target); !os.IsNotExist(err) {
		t.Errorf("the target is still there: %v", err)
	}
}

func TestLookingAtAnInlineVolume(t *testing.T) {
	f := newLocalFixture(t)
	stats := func(id, path string) (*csi.NodeGetVolumeStatsResponse, error) {
		return f.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
	}
	health := func(staging, target string) (*csi.NodeGetVolumeHealthResponse, error) {
		return f.NodeGetVolumeHealth(t.Context(), &csi.NodeGetVolumeHealthRequest{
			VolumeId: inlineVolume, StagingTargetPath: staging, VolumePublishPath: target})
	}
	_, err := stats(inlineVolume, f.target)
	wantError(t, err, volume.ErrNotFound)
	_, err = health("", f.target)
	wantError(t, err, volume.ErrNotFound)
	wantError(t, f.publishWith(t, f.inlineRequest()), nil)
	got, err := stats(inlineVolume, f.target)
	if err != nil || len(got.GetUsage()) != 2 || got.GetUsage()[0].GetTotal() != 2<<20 || got.GetUsage()[1].GetUnit() != csi.VolumeUsage_INODES {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = stats("csi-"+strings.Repeat("0b", 32), f.target)
	wantError(t, err, volume.ErrNotFound)
	_, err = stats(inlineVolume, filepath.Dir(f.target))
	wantError(t, err, volume.ErrNotFound)
	h, err := health("", f.target)
	if err != nil || h.GetVolumeHealth().GetVolumeId() != inlineVolume || len(h.GetVolumeHealth().GetHealthStatuses()) != 0 {
		t.Errorf("got %v, %v", h, err)
	}
	for _, paths := range [][2]string{{"", ""}, {f.staging, ""}, {f.staging, f.target}} {
		_, err = health(paths[0], paths[1])
		wantError(t, err, volume.ErrInvalid)
	}
	wantError(t, unix.Unmount(f.target, 0), nil)
	h, err = health("", f.target)
	if s := h.GetVolumeHealth().GetHealthStatuses(); err != nil || len(s) != 1 || s[0].GetReason() != "NotMounted" {
		t.Errorf("got %v, %v", h, err)
	}
	_, err = f.NodeExpandVolume(t.Context(), &csi.NodeExpandVolumeRequest{VolumeId: inlineVolume, VolumePath: f.target})
	wantError(t, err, volume.ErrInvalid)
	wantError(t, f.unpublish(t, inlineVolume, f.target), nil)
}
