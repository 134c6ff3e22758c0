package node

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/volume"
)

func TestRequestsThatAreRefused(t *testing.T) {
	f := newFixture(t)
	block := &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}, AccessMode: capability(rwx).AccessMode}
	group := capability(rwx)
	group.GetMount().VolumeMountGroup = "users"
	flags := capability(rwx)
	flags.GetMount().MountFlags = []string{"nonsense"}
	type publish = csi.NodePublishVolumeRequest
	type stage = csi.NodeStageVolumeRequest
	for name, c := range map[string]struct {
		publish func(*publish)
		stage   func(*stage)
		says    string
		want    error
	}{
		"no volume id":                {publish: func(r *publish) { r.VolumeId = "" }, stage: func(r *stage) { r.VolumeId = "" }, says: "volume_id"},
		"malformed volume id":         {publish: func(r *publish) { r.VolumeId = "warm:../x" }, stage: func(r *stage) { r.VolumeId = "warm:../x" }},
		"huge volume id":              {publish: func(r *publish) { r.VolumeId = "warm:" + strings.Repeat("x", 128) }, stage: func(r *stage) { r.VolumeId = "warm:" + strings.Repeat("x", 128) }},
		"unicode volume id":           {publish: func(r *publish) { r.VolumeId = "warm:ü" }, stage: func(r *stage) { r.VolumeId = "warm:ü" }},
		"a tier that isn't served":    {publish: func(r *publish) { r.VolumeId = "cold:a" }, stage: func(r *stage) { r.VolumeId = "cold:a" }, says: "cold"},
		"no capability":               {publish: func(r *publish) { r.VolumeCapability = nil }, stage: func(r *stage) { r.VolumeCapability = nil }, says: "volume_capability"},
		"raw block":                   {publish: func(r *publish) { r.VolumeCapability = block }, stage: func(r *stage) { r.VolumeCapability = block }, says: "raw block"},
		"no access type":              {publish: func(r *publish) { r.VolumeCapability.AccessType = nil }, stage: func(r *stage) { r.VolumeCapability.AccessType = nil }, says: "access type"},
		"no access mode":              {publish: func(r *publish) { r.VolumeCapability.AccessMode = nil }, stage: func(r *stage) { r.VolumeCapability.AccessMode = nil }, says: "access mode"},
		"a group's name":              {publish: func(r *publish) { r.VolumeCapability = group }, stage: func(r *stage) { r.VolumeCapability = group }, says: "volume_mount_group"},
		"mount options of no backend": {publish: func(r *publish) { r.VolumeCapability = flags }, stage: func(r *stage) { r.VolumeCapability = flags }, says: "nonsense"},
		"a bad context":               {publish: func(r *publish) { r.VolumeContext = map[string]string{"a": "b"} }, stage: func(r *stage) { r.VolumeContext = map[string]string{"a": "b"} }},
		"no staging path to stage":    {stage: func(r *stage) { r.StagingTargetPath = "" }, says: "staging_target_path"},
		"no staging path to publish":  {publish: func(r *publish) { r.StagingTargetPath = "" }, says: "staging_target_path", want: volume.ErrPrecondition},
		"a staging path with ..":      {publish: func(r *publish) { r.StagingTargetPath += "/../x" }, stage: func(r *stage) { r.StagingTargetPath += "/../x" }, says: "clean"},
		"a staging path that is gone": {stage: func(r *stage) { r.StagingTargetPath += "2" }, says: "does not exist"},
		"no target":                   {publish: func(r *publish) { r.TargetPath = "" }, says: "target_path"},
		"a relative target":           {publish: func(r *publish) { r.TargetPath = "a/b" }, says: "absolute"},
		"a target with ..":            {publish: func(r *publish) { r.TargetPath += "/../../x" }, says: "clean"},
		"a target with //":            {publish: func(r *publish) { r.TargetPath = "/tmp//x" }, says: "clean"},
		"a target with a zero byte":   {publish: func(r *publish) { r.TargetPath += "\x00" }, says: "zero"},
		"the root as target":          {publish: func(r *publish) { r.TargetPath = "/" }, says: "clean"},
		"an inline volume":            {publish: func(r *publish) { r.VolumeContext = map[string]string{ephemeral: "true"} }, says: "inline"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == nil {
				c.want = volume.ErrInvalid
			}
			check := func(err error) {
				t.Helper()
				wantError(t, err, c.want)
				if !strings.Contains(err.Error(), c.says) {
					t.Errorf("%q doesn't say %q", err, c.says)
				}
			}
			if c.stage != nil {
				r := f.stageRequest()
				c.stage(r)
				_, err := f.NodeStageVolume(t.Context(), r)
				check(err)
			}
			if c.publish != nil {
				r := f.publishRequest()
				c.publish(r)
				_, err := f.NodePublishVolume(t.Context(), r)
				check(err)
			}
		})
	}
	if len(f.stager.Stages()) != 0 {
		t.Error("a refused request reached the backend")
	}
	for name, err := range map[string]error{
		"unpublish without id":     f.unpublish(t, "", f.target),
		"unpublish without path":   f.unpublish(t, id, ""),
		"unpublish of the root":    f.unpublish(t, id, "/"),
		"unpublish of a .. path":   f.unpublish(t, id, "/tmp/.."),
		"unpublish of a ./ path":   f.unpublish(t, id, "tmp"),
		"unpublish of a // suffix": f.unpublish(t, id, f.target+"//"),
	} {
		t.Run(name, func(t *testing.T) { wantError(t, err, volume.ErrInvalid) })
	}
}
