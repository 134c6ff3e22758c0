package client

// What is wrong with a volume's mount on this node, in words for the person who has to repair it.

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/clientmount"
	"github.com/strata-csi/strata/pkg/volume"
)

// The reasons of a Condition.
const (
	ReasonNotMounted   = clientmount.ReasonNotMounted
	ReasonWrongMount   = clientmount.ReasonWrongMount
	ReasonMountDead    = clientmount.ReasonMountDead
	ReasonMountSilent  = clientmount.ReasonMountSilent
	ReasonQuotaReached = "QuotaReached"
)

// MountHealth implements tier.MountHealthReporter.
func (s *Stager) MountHealth(ctx context.Context, id volume.ID, path string) ([]volume.Condition, error) {
	err := s.Staged(ctx, id, path)
	var usage volume.Usage
	if err == nil {
		usage, err = s.Usage(ctx, id, path)
	}
	if err == nil {
		return quotaConditions(usage), nil
	}
	c, err := clientmount.Condition(ctx, id, path, err, clientmount.Words{Died: s.obituary,
		Silent: "look at `ceph health detail` and at the network between this node and the cluster"})
	if err != nil {
		return nil, err
	}
	return []volume.Condition{c}, nil
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

// obituary says why a mount is dead.
func (s *Stager) obituary(ctx context.Context, id volume.ID, _ string, err error) string {
	switch {
	case errors.Is(err, unix.ENOTCONN):
		why := "ceph-fuse has ended"
		if fate := s.Fuse.Fate(ctx, sourceOf(id)); fate != "" {
			why += " (" + fate + ")"
		}
		return why
	case errors.Is(err, unix.ESHUTDOWN):
		return "the cluster has evicted this node's client; `ceph osd blocklist ls` shows it"
	case errors.Is(err, unix.EACCES):
		return "the cluster has evicted this node's client (`ceph osd blocklist ls` shows it), or the volume is no longer where its identity may go"
	case errors.Is(err, unix.ESTALE):
		return "its directory no longer exists in the file system"
	}
	return "its client has been cut off"
}
