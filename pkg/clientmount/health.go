package clientmount

// What is wrong with a mount, as far as it is the same for every tier.

import (
	"context"
	"errors"
	"fmt"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// The reasons of a Condition of a mount.
const (
	ReasonNotMounted  = "NotMounted"
	ReasonWrongMount  = "WrongMount"
	ReasonMountDead   = "MountDead"
	ReasonMountSilent = "MountNotAnswering"
)

// Words say what the conditions of a tier's mounts can't know by themselves.
type Words struct {
	// Died says why the mount at path is dead; cause is the error that says so.
	Died func(ctx context.Context, id volume.ID, path string, cause error) string
	// Silent is what to look at when a mount doesn't answer.
	Silent string
}

// Condition says in words what an error of Staged, or of a question to a mount that was just alive, means. An error that says nothing of the mount is returned.
func Condition(ctx context.Context, id volume.ID, path string, err error, w Words) (volume.Condition, error) {
	c := volume.Condition{Severity: volume.Inaccessible}
	switch {
	case mountpoint.Dead(err):
		c.Reason = ReasonMountDead
		c.Message = fmt.Sprintf("the mount at %s is dead: %s; open files are lost. Delete the pods that use the volume on this node: "+
			"it is mounted anew when they start (%v)", path, w.Died(ctx, id, path, err), err)
	case errors.Is(err, mountpoint.ErrProbeHung), errors.Is(err, mountpoint.ErrProbeLimit):
		c.Reason = ReasonMountSilent
		c.Message = fmt.Sprintf("the mount at %s doesn't answer (%v); %s; it goes on by itself when they are well", path, err, w.Silent)
	case errors.Is(err, volume.ErrNotFound):
		c.Reason = ReasonNotMounted
		c.Message = fmt.Sprintf("the volume is not mounted at %s; it is mounted when its pod is started again", path)
	case errors.Is(err, volume.ErrExists):
		c.Reason, c.Message = ReasonWrongMount, err.Error()
	default:
		return volume.Condition{}, err
	}
	return c, nil
}
