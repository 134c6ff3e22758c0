package node

import (
	"fmt"
	"os"
	"testing"

	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/tier/tiertest"
	"github.com/strata-csi/strata/pkg/volume"
)

// grouped is a tier whose volumes belong to the group that they are mounted for.
type grouped struct{ *tiertest.Stager }

func (g grouped) CheckGroup(spec tier.StageSpec) error {
	all := g.Stages()
	if has := all[len(all)-1].Group; has == nil || spec.Group == nil || *spec.Group != *has || spec.ID != id {
		return fmt.Errorf("%w: mounted for another group than that of %+v", volume.ErrPrecondition, spec)
	}
	return nil
}

func TestTheGroupOfAMountReachesItsTier(t *testing.T) {
	f := newFixture(t)
	nodes := tier.Nodes{}
	nodes.Register(volume.Warm, grouped{f.stager})
	var err error
	f.Server, err = New(Config{NodeID: "n1", Tiers: nodes, Locks: new(keylock.Locks), Unmounter: mountpoint.NewUnmounter(mountpoint.NewProber(0))})
	wantError(t, err, nil)
	stage, publish := f.stageRequest(), f.publishRequest()
	group := func(s string) {
		stage.VolumeCapability.GetMount().VolumeMountGroup = s
		publish.VolumeCapability.GetMount().VolumeMountGroup = s
	}
	group("1000")
	_, err = f.NodeStageVolume(t.Context(), stage)
	wantError(t, err, nil)
	if got := f.stager.Stages(); len(got) != 1 || got[0].Group == nil || *got[0].Group != 1000 {
		t.Errorf("staged with %+v", got)
	}
	group("2000") // without the secrets that staging anew needs
	_, err = f.NodePublishVolume(t.Context(), publish)
	wantError(t, err, volume.ErrPrecondition)
	if _, err := os.Lstat(f.target); !os.IsNotExist(err) {
		t.Errorf("a refused request left the target: %v", err)
	}
	group("1000")
	_, err = f.NodePublishVolume(t.Context(), publish)
	wantError(t, err, nil)
	group("2000") // what a pod has it keeps
	_, err = f.NodePublishVolume(t.Context(), publish)
	wantError(t, err, nil)
	another := f.publishRequest()
	another.Secrets, another.TargetPath = f.secrets, f.target+"-2"
	another.VolumeCapability.GetMount().VolumeMountGroup = "2000"
	_, err = f.NodePublishVolume(t.Context(), another) // while the first has it
	wantError(t, err, volume.ErrPrecondition)
	if got := f.stager.Stages(); len(got) != 1 {
		t.Errorf("staged %d times under a pod", len(got))
	}
	wantError(t, f.unpublish(t, id, f.target), nil)
	_, err = f.NodePublishVolume(t.Context(), another)
	wantError(t, err, nil)
	if got := f.stager.Stages(); len(got) != 2 || *got[1].Group != 2000 || stacked(t, f.staging) != 1 || stacked(t, another.TargetPath) != 1 {
		t.Errorf("staged with %+v", got)
	}
	wantError(t, f.unpublish(t, id, another.TargetPath), nil)
	group("") // whoever asks for no group is asked nothing
	_, err = f.NodePublishVolume(t.Context(), publish)
	wantError(t, err, nil)
	for _, bad := range []string{"users", "-1", "4294967295", "4294967296", "1 ", "0x10"} {
		group(bad)
		_, err = f.NodeStageVolume(t.Context(), stage)
		wantError(t, err, volume.ErrInvalid)
	}
}
