package node

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/volume"
)

// deviceAt returns the device at path.
func deviceAt(t *testing.T, path string) mountpoint.Device {
	t.Helper()
	d, err := mountpoint.DeviceAt(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLifeOfABlockVolume(t *testing.T) {
	f := newLocalFixture(t)
	for range 3 {
		wantError(t, f.stageWith(t, f.blockStage()), nil)
		f.again(t)
	}
	for range 3 {
		wantError(t, f.publishWith(t, f.blockPublish()), nil)
		f.again(t)
	}
	if n, m := stacked(t, f.staging), stacked(t, f.target); n != 0 || m != 1 {
		t.Errorf("%d mounts at the staging path and %d at the target", n, m)
	}
	node, err := f.disks.BlockDevice(t.Context(), local)
	wantError(t, err, nil)
	if deviceAt(t, f.target) != deviceAt(t, node) {
		t.Error("another device")
	}
	file, err := os.OpenFile(f.target, os.O_RDWR, 0)
	wantError(t, err, nil)
	_, err = file.WriteString("hello")
	wantError(t, errors.Join(err, file.Close()), nil)
	stats, err := f.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: local, VolumePath: f.target})
	if u := stats.GetUsage(); err != nil || len(u) != 1 || u[0].GetUnit() != csi.VolumeUsage_BYTES || u[0].GetTotal() != 2<<20 || u[0].GetUsed() != 0 {
		t.Errorf("stats: %v, %v", stats, err)
	}
	for range 3 {
		wantError(t, f.unpublish(t, local, f.target), nil)
		f.again(t)
	}
	for range 3 {
		wantError(t, f.unstage(t, local), nil)
		f.again(t)
	}
	f.nothing(t)
	if _, err := os.Stat(f.staging); err != nil {
		t.Errorf("the staging directory is the orchestrator's: %v", err)
	}
}

func TestTheFileBelowADeviceIsNobodys(t *testing.T) {
	f := newLocalFixture(t)
	wantError(t, f.stageWith(t, f.blockStage()), nil)
	wantError(t, f.publishWith(t, f.blockPublish()), nil)
	wantError(t, unix.Unmount(f.target, 0), nil)
	if fi, err := os.Lstat(f.target); err != nil || fi.Mode() != 0 || fi.Size() != 0 {
		t.Errorf("got %v, %v", fi, err)
	}
	wantError(t, f.publishWith(t, f.blockPublish()), nil) // the file is there, its mount isn't
	if stacked(t, f.target) != 1 {
		t.Error("not mounted")
	}
	wantError(t, f.unpublish(t, local, f.target), nil)
	wantError(t, f.unstage(t, local), nil)
	f.nothing(t)
}

func TestBlockRequestsThatAreRefused(t *testing.T) {
	f := newLocalFixture(t)
	readOnly := block(csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY)
	for name, c := range map[string]struct {
		stage   func(*csi.NodeStageVolumeRequest)
		publish func(*csi.NodePublishVolumeRequest)
		says    string
	}{
		"of a tier without": {func(r *csi.NodeStageVolumeRequest) { r.VolumeId = id }, func(r *csi.NodePublishVolumeRequest) { r.VolumeId = id }, "volumeMode: Filesystem"},
		"to read":           {func(r *csi.NodeStageVolumeRequest) { r.VolumeCapability = readOnly }, func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = readOnly }, "read-only"},
		"published to read": {nil, func(r *csi.NodePublishVolumeRequest) { r.Readonly = true }, "read-only"},
		"with a bad context": {func(r *csi.NodeStageVolumeRequest) { r.VolumeContext = map[string]string{"a": "b"} },
			func(r *csi.NodePublishVolumeRequest) { r.VolumeContext = map[string]string{"a": "b"} }, `"a"`},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(err error) {
				t.Helper()
				wantError(t, err, volume.ErrInvalid)
				if !strings.Contains(err.Error(), c.says) {
					t.Errorf("%q doesn't say %q", err, c.says)
				}
			}
			if c.stage != nil {
				r := f.blockStage()
				c.stage(r)
				check(f.stageWith(t, r))
			}
			r := f.blockPublish()
			c.publish(r)
			check(f.publishWith(t, r))
		})
	}
	if len(f.disks.Stages()) != 0 {
		t.Error("a refused request reached the tier")
	}
	f.nothing(t)
}

func TestAVolumeIsStagedInOneWay(t *testing.T) {
	files := func(f *localFixture) (*csi.NodeStageVolumeRequest, *csi.NodePublishVolumeRequest) {
		s, p := f.blockStage(), f.blockPublish()
		s.VolumeCapability, p.VolumeCapability = capability(rwo), capability(rwo)
		return s, p
	}
	t.Run("files, then block", func(t *testing.T) {
		f := newLocalFixture(t)
		stage, publish := files(f)
		wantError(t, f.stageWith(t, stage), nil)
		wantError(t, f.stageWith(t, f.blockStage()), volume.ErrExists)
		wantError(t, f.publishWith(t, f.blockPublish()), volume.ErrExists)
		wantError(t, f.publishWith(t, publish), nil)
		wantError(t, f.unpublish(t, local, f.target), nil)
		wantError(t, f.unstage(t, local), nil)
		f.nothing(t)
	})
	t.Run("block, then files", func(t *testing.T) {
		f := newLocalFixture(t)
		stage, publish := files(f)
		wantError(t, f.stageWith(t, f.blockStage()), nil)
		wantError(t, f.stageWith(t, stage), volume.ErrExists)
		wantError(t, f.publishWith(t, publish), volume.ErrExists)
		wantError(t, f.unstage(t, local), nil)
		f.nothing(t)
	})
}

func TestStagingOfABlockVolumeIsRepaired(t *testing.T) {
	f := newLocalFixture(t) // nothing is staged, as after a reboot
	wantError(t, f.publishWith(t, f.blockPublish()), nil)
	if s := f.disks.Stages(); len(s) != 1 || !s[0].Block || s[0].Path != f.staging {
		t.Errorf("staged: %+v", s)
	}
	wantError(t, f.unpublish(t, local, f.target), nil)
	wantError(t, f.unstage(t, local), nil)
	f.nothing(t)
}

func TestStagingOfFilesIsRepairedWithoutSecretsWhereNoneAreWanted(t *testing.T) {
	f := newLocalFixture(t)
	r := f.blockPublish()
	r.VolumeCapability = capability(rwo)
	wantError(t, f.publishWith(t, r), nil)
	wantError(t, write(t, f.target), nil)
	if _, err := os.Stat(f.staging + "/x"); err != nil {
		t.Errorf("another mount than the pod's: %v", err)
	}
	wantError(t, f.unpublish(t, local, f.target), nil)
	wantError(t, f.unstage(t, local), nil)
	f.nothing(t)
}

func TestBlockPublishNeverHidesAnything(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, target string)
		want error
	}{
		"a directory":     {func(t *testing.T, p string) { wantError(t, os.Mkdir(p, 0o750), nil) }, volume.ErrInvalid},
		"a full file":     {func(t *testing.T, p string) { wantError(t, os.WriteFile(p, []byte("x"), 0o600), nil) }, volume.ErrPrecondition},
		"a symbolic link": {func(t *testing.T, p string) { wantError(t, os.Symlink(t.TempDir(), p), nil) }, volume.ErrInvalid},
		"a link to a file": {func(t *testing.T, p string) {
			victim := t.TempDir() + "/victim"
			wantError(t, errors.Join(os.WriteFile(victim, nil, 0o600), os.Symlink(victim, p)), nil)
		}, volume.ErrInvalid},
		"a stranger's mount": {func(t *testing.T, p string) {
			wantError(t, os.Mkdir(p, 0o750), nil)
			mountpointtest.TmpFS(t, p)
		}, volume.ErrExists},
		"another device": {func(t *testing.T, p string) {
			_, err := mountpoint.MakeFileMountpoint(p)
			wantError(t, errors.Join(err, mountpoint.BindDevice(mountpointtest.Loop(t, 1<<20), p)), nil)
		}, volume.ErrExists},
	} {
		t.Run(name, func(t *testing.T) {
			f := newLocalFixture(t)
			wantError(t, f.stageWith(t, f.blockStage()), nil)
			c.make(t, f.target)
			before, err := os.Lstat(f.target)
			wantError(t, err, nil)
			wantError(t, f.publishWith(t, f.blockPublish()), c.want)
			if c.want == volume.ErrExists {
				wantError(t, f.unpublish(t, local, f.target), volume.ErrPrecondition)
			}
			if after, err := os.Lstat(f.target); err != nil || !os.SameFile(before, after) {
				t.Errorf("got %v, %v", after, err)
			}
			_ = unix.Unmount(f.target, 0) // the last two
			wantError(t, f.unstage(t, local), nil)
		})
	}
	t.Run("a missing parent", func(t *testing.T) {
		f := newLocalFixture(t)
		wantError(t, f.stageWith(t, f.blockStage()), nil)
		r := f.blockPublish()
		r.TargetPath += "/a/b"
		wantError(t, f.publishWith(t, r), volume.ErrInvalid)
		wantError(t, f.unstage(t, local), nil)
		f.nothing(t)
	})
	t.Run("what is mounted at the staging path", func(t *testing.T) {
		f := newLocalFixture(t)
		mountpointtest.TmpFS(t, f.staging)
		wantError(t, f.stageWith(t, f.blockStage()), volume.ErrExists)
		wantError(t, f.publishWith(t, f.blockPublish()), volume.ErrExists)
		f.nothing(t)
	})
}

func TestABlockVolumeInUseIsNotUnstaged(t *testing.T) {
	f := newLocalFixture(t)
	wantError(t, f.stageWith(t, f.blockStage()), nil)
	wantError(t, f.publishWith(t, f.blockPublish()), nil)
	err := f.unstage(t, local)
	wantError(t, err, volume.ErrUnavailable)
	if !strings.Contains(err.Error(), f.target) {
		t.Errorf("%q doesn't say where", err)
	}
	_, err = f.disks.BlockDevice(t.Context(), local)
	wantError(t, err, nil)
	wantError(t, f.unpublish(t, local, f.target), nil)
	wantError(t, f.unstage(t, local), nil)
	f.nothing(t)
}

// The pod must be able to go, although nobody can say any more whose the device at its path was.
func TestUnpublishOfADeviceThatIsGone(t *testing.T) {
	f := newLocalFixture(t)
	wantError(t, f.stageWith(t, f.blockStage()), nil)
	wantError(t, f.publishWith(t, f.blockPublish()), nil)
	wantError(t, f.disks.Unstage(t.Context(), local, f.staging), nil)
	wantError(t, f.unpublish(t, local, f.target), nil)
	f.nothing(t)
}

func TestABlockVolumeOfOneWriterIsPublishedOnce(t *testing.T) {
	f := newLocalFixture(t)
	wantError(t, f.stageWith(t, f.blockStage()), nil)
	r := f.blockPublish()
	r.VolumeCapability = block(csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER)
	for range 2 {
		wantError(t, f.publishWith(t, r), nil)
	}
	// Kubelet binds the device once more for itself, and may then publish it again.
	own := t.TempDir() + "/own"
	_, err := mountpoint.MakeFileMountpoint(own)
	wantError(t, errors.Join(err, mountpoint.BindDevice(nodeOf(t, f), own)), nil)
	wantError(t, f.publishWith(t, r), nil)
	wantError(t, unix.Unmount(own, 0), nil)

	f.again(t)
	r.TargetPath += "2"
	err = f.publishWith(t, r)
	wantError(t, err, volume.ErrPrecondition)
	if !strings.Contains(err.Error(), f.target) {
		t.Errorf("%q doesn't say where it is published", err)
	}
	wantError(t, f.unpublish(t, local, f.target), nil)
	wantError(t, f.publishWith(t, r), nil)
	wantError(t, f.unpublish(t, local, r.TargetPath), nil)
	wantError(t, f.unstage(t, local), nil)
	f.nothing(t, r.TargetPath)
}

func nodeOf(t *testing.T, f *localFixture) string {
	t.Helper()
	node, err := f.disks.BlockDevice(t.Context(), local)
	wantError(t, err, nil)
	return node
}

func TestHealthOfABlockVolume(t *testing.T) {
	f := newLocalFixture(t)
	look := func(staging, target string) []*csi.VolumeHealth_VolumeHealthEntry {
		t.Helper()
		h, err := f.NodeGetVolumeHealth(t.Context(), &csi.NodeGetVolumeHealthRequest{VolumeId: local, StagingTargetPath: staging, VolumePublishPath: target})
		wantError(t, err, nil)
		return h.GetVolumeHealth().GetHealthStatuses()
	}
	wantError(t, f.stageWith(t, f.blockStage()), nil)
	wantError(t, f.publishWith(t, f.blockPublish()), nil)
	for _, p := range [][2]string{{"", ""}, {f.staging, ""}, {"", f.target}, {f.staging, f.target}} {
		if s := look(p[0], p[1]); len(s) != 0 {
			t.Errorf("at %q: got %v", p, s)
		}
	}
	wantError(t, f.unpublish(t, local, f.target), nil)
	if s := look(f.staging, f.target); len(s) != 1 || s[0].GetReason() != "NotPublished" || s[0].GetStatus() != csi.VolumeHealthErrorType_INACCESSIBLE {
		t.Errorf("got %v", s)
	}
	_, err := f.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: local, VolumePath: f.staging})
	wantError(t, err, volume.ErrNotFound)
	wantError(t, f.unstage(t, local), nil)
}
