package warm

// What a team may have: its volumes' quotas together, in one file system, are held to the quota of its group's directory.
//
// Ceph alone doesn't do it. A quota is enforced by the client, for the directories above its own as well, but not where its capabilities
// don't let it see them, and the identity of a volume sees that volume alone (docs/decisions/0037). What such a client is held to is the
// volume's own quota; so no more of these are given than the team may have.

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/volume"
)

// withinTeam calls do, which promises size bytes to a volume by its record, when its team has that many left besides its other volumes.
// volume.ErrExhausted: it hasn't. quota is for a group that has none yet; 0: it needs none. Calls for one team come one after another;
// without a quota, nothing is held up.
func (b *Backend) withinTeam(ctx context.Context, s site, sub ceph.Subvolume, quota, size int64, do func(context.Context) error) (err error) {
	group := "/volumes/" + sub.Group
	have, err := number(ctx, s.tree(), group, attrQuota)
	if err != nil && !ceph.Absent(err) {
		return err
	}
	if have == 0 && quota == 0 {
		return do(ctx)
	}
	lock, err := b.lock(ctx, s, "team", sub.Group, "hold a team to its quota")
	if err != nil {
		return err
	}
	defer func() { _ = lock.end(err, nil) }()
	ctx = lock.ctx
	if have == 0 {
		if err := createGroup(ctx, s, sub.Group); err != nil {
			return err
		}
	}
	have, err = number(ctx, s.tree(), group, attrQuota) // anew: it may have another by now
	if err != nil {
		return err
	}
	if have == 0 {
		if have = quota; have > 0 {
			if err := s.tree().SetXattr(ctx, group, attrQuota, strconv.FormatInt(have, 10)); err != nil {
				return err
			}
		}
	}
	if have > 0 {
		others, err := promised(ctx, s, sub)
		if err != nil {
			return err
		}
		if free := max(have-others, 0); size > free {
			return fmt.Errorf("%w: team %s may have %d bytes in file system %s, of which its other volumes have %d: %d are free, and asked were %d; "+
				"delete volumes, ask for less, or give the team more: ceph fs subvolumegroup resize %s %s BYTES", volume.ErrExhausted, strings.TrimPrefix(sub.Group, s.cluster.NamePrefix+groupSeparator), have, s.fs.Name(),
				others, free, size, s.fs.Name(), sub.Group)
		}
	}
	return do(ctx)
}

// promised are the bytes that the other volumes of a group were given. What isn't finished has no record and was given nothing; of what was
// removed and keeps snapshots, none.
func promised(ctx context.Context, s site, but ceph.Subvolume) (sum int64, err error) {
	names, err := list(ctx, s.tree(), "/volumes/"+but.Group)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if name == but.Name {
			continue
		}
		rec, err := readRecord(ctx, s, ceph.Subvolume{Group: but.Group, Name: name})
		if err == nil {
			var quota int64 // that may be more, set by hand
			if quota, err = number(ctx, s.tree(), rec.Path, attrQuota); err == nil {
				sum += max(rec.Size, quota)
			}
		}
		if err != nil && !unfinished(err) {
			return 0, err
		}
	}
	return sum, nil
}
