package clientmount

// A staging path that lost its mount while pods go on using the volume.

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// Restore is called when nothing is mounted at path; elsewhere is where the client that was started for it is mounted still. It happens that a volume is
// unstaged, by hand or by an orchestrator that lost count, before the last pod has left it: its client then goes on for the pods' bind mounts, and no other is
// started for the same path while one of them lives. So the staging path is bound back from one of theirs.
func (s *Mounts) Restore(ctx context.Context, id volume.ID, path string, readOnly bool, elsewhere []string) (staged bool, err error) {
	var inUse []string
	for _, o := range elsewhere {
		err := s.Staged(ctx, id, o)
		if mountpoint.Dead(err) {
			continue // a mount that nobody can use any more
		}
		inUse = append(inUse, o)
		if err != nil {
			continue // silent, or a part of the volume only
		}
		m, ok, err := mountpoint.Find(o)
		if err != nil || !ok || m.ReadOnly() && !readOnly {
			continue
		}
		klog.FromContext(ctx).Info("the staging path had lost its mount, restoring it from a published one", "volume", id, "path", path, "from", o)
		return true, mounterror.Wrap(mountpoint.Bind(o, path, readOnly))
	}
	if len(inUse) > 0 {
		return false, fmt.Errorf("%w: %s has lost its mount, and it can't be restored from where the volume is still in use: %s; "+
			"it can be staged again when the pods have gone", volume.ErrUnavailable, path, strings.Join(inUse, ", "))
	}
	return false, nil
}
