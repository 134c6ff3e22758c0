package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestStats(t *testing.T) {
	f := newFixture(t)
	f.stage(t)
	f.publish(t)
	wantError(t, os.WriteFile(filepath.Join(f.target, "x"), make([]byte, 64<<10), 0o600), nil)
	for _, path := range []string{f.target, f.staging} {
		resp, err := f.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.GetUsage()) != 2 {
			t.Fatalf("got %v", resp)
		}
		b, i := resp.GetUsage()[0], resp.GetUsage()[1]
		if b.GetUnit() != csi.VolumeUsage_BYTES || b.GetTotal() != 1<<20 || b.GetUsed() != 64<<10 || b.GetAvailable() != 1<<20-64<<10 {
			t.Errorf("bytes: %v", b)
		}
		if i.GetUnit() != csi.VolumeUsage_INODES || i.GetUsed() != 2 || i.GetTotal() != i.GetUsed()+i.GetAvailable() {
			t.Errorf("inodes: %v", i)
		}
	}
	stranger := t.TempDir()
	mountpointtest.TmpFS(t, stranger)
	for name, c := range map[string]struct {
		id, path string
		want     error
	}{
		"no id":                        {"", f.target, volume.ErrInvalid},
		"no path":                      {id, "", volume.ErrInvalid},
		"a relative path":              {id, "some/path", volume.ErrNotFound},
		"a path that isn't mounted":    {id, filepath.Dir(f.target), volume.ErrNotFound},
		"a path that doesn't exist":    {id, f.target + "2", volume.ErrNotFound},
		"a directory in the volume":    {id, f.target + "/x", volume.ErrNotFound},
		"a stranger's mount":           {id, stranger, volume.ErrNotFound},
		"another volume's mount":       {id + "2", f.target, volume.ErrNotFound},
		"an id that can't be":          {"x", f.target, volume.ErrNotFound},
		"an id of a tier not served":   {"cold:a", f.target, volume.ErrNotFound},
		"a published path of no mount": {id, "/", volume.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: c.id, VolumePath: c.path})
			wantError(t, err, c.want)
		})
	}
	t.Run("a dead mount", func(t *testing.T) {
		wantError(t, unix.Unmount(f.target, 0), nil)
		mountpointtest.Dead(t, f.target)
		_, err := f.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: f.target})
		wantError(t, err, volume.ErrUnavailable)
	})
}

func TestHealth(t *testing.T) {
	f := newFixture(t)
	look := func(r *csi.NodeGetVolumeHealthRequest) (*csi.VolumeHealth, error) {
		resp, err := f.NodeGetVolumeHealth(t.Context(), r)
		return resp.GetVolumeHealth(), err
	}
	_, err := look(&csi.NodeGetVolumeHealthRequest{})
	wantError(t, err, volume.ErrInvalid)
	_, err = look(&csi.NodeGetVolumeHealthRequest{VolumeId: "x"})
	wantError(t, err, volume.ErrNotFound)
	_, err = look(&csi.NodeGetVolumeHealthRequest{VolumeId: id, StagingTargetPath: "relative"})
	wantError(t, err, volume.ErrInvalid)
	_, err = look(&csi.NodeGetVolumeHealthRequest{VolumeId: id})
	wantError(t, err, volume.ErrNotFound) // not on this node

	f.stage(t)
	f.publish(t)
	f.Server = f.restart(t)
	for _, r := range []*csi.NodeGetVolumeHealthRequest{
		{VolumeId: id}, // found by its mounts
		{VolumeId: id, StagingTargetPath: f.staging, VolumePublishPath: f.target},
	} {
		h, err := look(r)
		if err != nil || h.GetVolumeId() != id || len(h.GetHealthStatuses()) != 0 {
			t.Errorf("got %v, %v", h, err)
		}
	}
	for _, p := range []string{f.staging, f.target} {
		wantError(t, unix.Unmount(p, 0), nil)
		mountpointtest.Dead(t, p)
	}
	h, err := look(&csi.NodeGetVolumeHealthRequest{VolumeId: id, StagingTargetPath: f.staging, VolumePublishPath: f.target})
	if err != nil {
		t.Fatal(err)
	}
	if s := h.GetHealthStatuses(); len(s) != 1 || s[0].GetStatus() != csi.VolumeHealthErrorType_INACCESSIBLE || s[0].GetReason() != "MountDead" || s[0].GetMessage() == "" {
		t.Errorf("two dead paths, one kind of condition: got %v", s)
	}
}
