package client

// What is wrong with a volume's mount on this node, in words for the person who has to repair it.

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// The reasons of a Condition.
const (
	ReasonNotMounted   = "NotMounted"
	ReasonWrongMount   = "WrongMount"
	ReasonMountDead    = "MountDead"
	ReasonMountSilent  = "MountNotAnswering"
	ReasonQuotaReached = "QuotaReached"
)

// MountHealth implements tier.MountHealthReporter.
func (s *Stager) MountHealth(ctx context.Context, id volume.ID, path string) ([]volume.Condition, error) {
	err := s.Staged(ctx, id, path)
	var usage volume.Usage
	if err == nil {
		usage, err = s.Usage(ctx, id, path)
	}
	switch {
	case err == nil:
		return quotaConditions(usage), nil
	case mountpoint.Dead(err):
		return []volume.Condition{{Severity: volume.Inaccessible, Reason: ReasonMountDead, Message: s.obituary(ctx, id, path, err)}}, nil
	case errors.Is(err, mountpoint.ErrProbeHung), errors.Is(err, mountpoint.ErrProbeLimit):
		return []volume.Condition{{Severity: volume.Inaccessible, Reason: ReasonMountSilent, Message: fmt.Sprintf(
			"the mount at %s doesn't answer (%v); look at `ceph health detail` and at the network between this node and the cluster; it goes on by itself when they are well", path, err)}}, nil
	case errors.Is(err, volume.ErrNotFound):
		return []volume.Condition{{Severity: volume.Inaccessible, Reason: ReasonNotMounted, Message: fmt.Sprintf(
			"the volume is not mounted at %s; it is mounted when its pod is started again", path)}}, nil
	case errors.Is(err, volume.ErrExists):
		return []volume.Condition{{Severity: volume.Inaccessible, Reason: ReasonWrongMount, Message: err.Error()}}, nil
	}
	return nil, err
}

// nearlyFull is how many bytes, at most, are left of a quota that refuses writes: a client stops before a write would pass the
// quota, so a few are always left.
const nearlyFull = 1 << 20

// quotaConditions reports a volume that takes no more data.
func quotaConditions(u volume.Usage) []volume.Condition {
	var what string
	switch {
	case u.TotalBytes > 0 && u.AvailableBytes < min(u.TotalBytes/100, nearlyFull):
		what = fmt.Sprintf("%d of %d bytes are used", u.UsedBytes, u.TotalBytes)
	case u.TotalInodes > 0 && u.AvailableInodes == 0:
		what = fmt.Sprintf("%d of %d files and directories exist", u.UsedInodes, u.TotalInodes)
	default:
		return nil
	}
	return []volume.Condition{{Severity: volume.Degraded, Reason: ReasonQuotaReached,
		Message: what + ": writing gives EDQUOT; grow the volume or delete files"}}
}

// obituary says why a mount is dead and what brings the volume back.
func (s *Stager) obituary(ctx context.Context, id volume.ID, path string, err error) string {
	why := "its client has been cut off"
	switch {
	case errors.Is(err, unix.ENOTCONN):
		why = "ceph-fuse has ended"
		if fate := s.Fuse.Fate(ctx, sourceOf(id)); fate != "" {
			why += " (" + fate + ")"
		}
	case errors.Is(err, unix.ESHUTDOWN):
		why = "the cluster has evicted this node's client; `ceph osd blocklist ls` shows it"
	case errors.Is(err, unix.EACCES):
		why = "the cluster has evicted this node's client (`ceph osd blocklist ls` shows it), or the volume is no longer where its identity may go"
	case errors.Is(err, unix.ESTALE):
		why = "its directory no longer exists in the file system"
	}
	return fmt.Sprintf("the mount at %s is dead: %s; open files are lost. Delete the pods that use the volume on this node: "+
		"it is mounted anew when they start (%v)", path, why, err)
}
