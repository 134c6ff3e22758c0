package client

// The group that a volume is mounted for. One engine serves all pods of a node, so the group of the first is that of all, until the last has gone.

import (
	"fmt"
	"strings"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// groupOption begins the option by which the mount table says which group a FUSE mount was made for (Documentation/filesystems/fuse.rst of Linux).
const groupOption = "group_id="

// CheckGroup implements tier.GroupChecker. Another group than that of the mount does no harm where the class lets everybody do what it lets the group do.
func (s *Stager) CheckGroup(spec tier.StageSpec) error {
	if spec.Group == nil {
		return nil
	}
	d, err := check(spec.ID, spec.Context, spec.Options)
	if err != nil {
		return err
	}
	m, mounted, err := mountpoint.Find(spec.Path)
	if err != nil {
		return mounterror.Wrap(err)
	}
	if !mounted {
		return fmt.Errorf("%w: nothing is mounted at %s", volume.ErrUnavailable, spec.Path)
	}
	want, has := fmt.Sprint(*spec.Group), "0"
	for _, o := range m.SuperOptions {
		if g, ok := strings.CutPrefix(o, groupOption); ok {
			has = g
		}
	}
	everybody := d.DirMode&0o007 == 0o007 && d.FileMode&0o006 == 0o006
	if everybody || has == want {
		return nil
	}
	if has == "0" { // of a mount that was made for no group, everything belongs to the class's
		if has = fmt.Sprint(d.GID); has == want {
			return nil
		}
	}
	return fmt.Errorf("%w: volume %s is mounted on this node for group %s, by a pod that has it, and this one's fsGroup is %s; on one node all pods of a cold volume have it with one group: "+
		"give them the same fsGroup, or the StorageClass dirMode 0777 and fileMode 0666", volume.ErrPrecondition, spec.ID, has, want)
}
