package warm

// A new key for a volume. Ceph 16 has one key for each identity, and where releases have a second one, its first use ends the first
// (docs/decisions/0032): so a rotation makes another identity, of the next generation, which may do the same. What has mounted the volume
// goes on with the one it has; what mounts it from now on finds the new one in the secret. Retiring removes the old ones.
//
// The index is told first: whatever else is interrupted, a deletion finds all generations, and a request that is repeated goes by the
// newest. Both happen under the lock under which a volume is finished, so that no late request stores an old key after it.

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/volume"
)

// Keys are the identities of a volume.
type Keys struct {
	Volume volume.ID
	User   string   // whose key its secret has, without "client."
	Former []string // those of before, which weren't retired; oldest first
	// Retired are those that this call removed.
	Retired []string
	// Fenced: it has no identity, and User is empty.
	Fenced bool
}

// ErrNoIdentity says that nodes mount the volume with a shared key.
var ErrNoIdentity = errors.New("the volume has no identity of its own")

// Rotate gives a volume a new key. volume.ErrNotFound, volume.ErrPending: there is no such volume, or not yet; ErrNoIdentity: it has no
// key of its own. An interrupted call may be repeated; it may leave a generation more to retire.
func (b *Backend) Rotate(ctx context.Context, id volume.ID) (Keys, error) {
	var keys Keys
	err := b.withIdentity(ctx, id, "rotate the key", func(ctx context.Context, s site, g grant, rec identityRecord) error {
		if rec.Fenced {
			return errFenced
		}
		rec.Generation++
		if err := writeAttr(ctx, s.tree().SetXattr, identityPath(s, g.holder), rec); err != nil {
			return interrupted(err)
		}
		if err := b.mint(ctx, s, g, rec); err != nil {
			return err
		}
		keys = keysOf(s, g, rec)
		return b.stillThere(ctx, s, g, rec)
	})
	return keys, classify(err)
}

// Retire removes the identities of a volume but the newest. ErrInUse: a client has the volume mounted with one of them; ErrNoFencing: that
// can't be seen. With force it isn't asked: such a client goes on for as long as its tickets last, an hour at most, and then hangs.
func (b *Backend) Retire(ctx context.Context, id volume.ID, force bool) (Keys, error) {
	var keys Keys
	err := b.withIdentity(ctx, id, "retire keys", func(ctx context.Context, s site, g grant, rec identityRecord) error {
		keys = keysOf(s, g, rec)
		if rec.Fenced {
			return errFenced
		}
		if len(keys.Former) == 0 {
			return nil
		}
		// Should the rotation have been interrupted, the secret has an old one still.
		if err := b.mint(ctx, s, g, rec); errors.Is(err, ceph.ErrOtherCapabilities) {
			return fmt.Errorf("%w: client.%s was changed by hand; rotate the key again, then retire: %w", volume.ErrPrecondition, keys.User, err)
		} else if err != nil {
			return err
		}
		if !force {
			if err := b.unused(ctx, s, keys.Former); err != nil {
				return err
			}
		}
		if err := unmint(ctx, s, keys.Former); err != nil {
			return err
		}
		rec.Oldest = rec.Generation
		if err := writeAttr(ctx, s.tree().SetXattr, identityPath(s, g.holder), rec); err != nil {
			return interrupted(err)
		}
		keys.Former, keys.Retired = nil, keys.Former
		return b.stillThere(ctx, s, g, rec)
	})
	return keys, classify(err)
}

func keysOf(s site, g grant, rec identityRecord) Keys {
	return Keys{Volume: g.id, User: identityName(s, g.holder, rec.Generation), Former: names(s, g.holder, rec.Oldest, rec.Generation-1)}
}

// withIdentity does something with the identities of a volume that is ready, under its lock.
func (b *Backend) withIdentity(ctx context.Context, id volume.ID, operation string, do func(ctx context.Context, s site, g grant, rec identityRecord) error) (err error) {
	ref, s, _, err := b.find(ctx, id)
	if err != nil {
		return err
	}
	if b.keeper == nil {
		return errNoKeeper("a key")
	}
	kind, name, err := lockOf(ctx, s, ref)
	if err != nil {
		return err
	}
	lock, err := b.lock(ctx, s, kind, name, operation)
	if err != nil {
		return err
	}
	defer func() { _ = lock.end(err, nil) }()
	ctx = lock.ctx
	g, err := b.grantOf(ctx, s, ref, id) // anew: it may be another by now
	if err != nil {
		return err
	}
	rec, err := readAttr[identityRecord](ctx, s, identityPath(s, g.holder))
	if err != nil {
		return interrupted(err)
	}
	g.secret = rec.Secret
	return do(ctx, s, g, rec)
}

// lockOf is the lock under which a volume is finished.
func lockOf(ctx context.Context, s site, ref volumeRef) (kind, name string, err error) {
	if !ref.backed {
		return "volume", ref.sub.String(), nil
	}
	_, from, err := backedOf(ctx, s, ref)
	return "snapshot", from.name, err
}

func backedOf(ctx context.Context, s site, ref volumeRef) (backedRecord, snapshotRef, error) {
	rec, err := readAttr[backedRecord](ctx, s, backedPath(s, ref.sub))
	if err != nil {
		return rec, snapshotRef{}, err
	}
	from, err := parseSnapshot(rec.Snapshot)
	return rec, from, err
}

// grantOf is the identity of a volume that is ready, as it was made.
func (b *Backend) grantOf(ctx context.Context, s site, ref volumeRef, id volume.ID) (grant, error) {
	g := grant{holder: holder{sub: ref.sub, backed: ref.backed}, id: id}
	if ref.backed {
		rec, from, err := backedOf(ctx, s, ref)
		if err != nil {
			return g, absent(id, err)
		}
		if g.may, g.path, g.of = rec.Identity, from.sub.Base(), from.sub; g.may == accessNone {
			return g, fmt.Errorf("%w: %s", ErrNoIdentity, id)
		}
		g.pool, err = poolOf(ctx, s, rec.Path)
		return g, err
	}
	_, _, rec, err := b.find(ctx, id)
	if err == nil && rec.Identity == accessNone {
		err = fmt.Errorf("%w: %s", ErrNoIdentity, id)
	}
	g.may, g.path, g.pool, g.of = rec.Identity, rec.Path, rec.Pool, ref.sub
	return g, err
}

func absent(id volume.ID, err error) error {
	if unfinished(err) {
		return fmt.Errorf("%w: there is no volume %s", volume.ErrNotFound, id)
	}
	return err
}

// stillThere looks whether the volume was deleted meanwhile; the deletion may have come before the identity did, which then goes too.
func (b *Backend) stillThere(ctx context.Context, s site, g grant, rec identityRecord) error {
	place := g.path
	if g.backed {
		place = backedPath(s, g.sub)
	}
	if _, err := s.tree().Xattr(ctx, place, attrRecord); !ceph.Absent(err) {
		if errors.Is(err, syscall.ENODATA) { // the data directory has none
			err = nil
		}
		return err
	}
	return errors.Join(fmt.Errorf("%w: volume %s was deleted meanwhile", volume.ErrNotFound, g.id),
		unmint(ctx, s, names(s, g.holder, rec.Oldest, rec.Generation)),
		b.keeper.Drop(ctx, g.secret, g.id),
		b.forgetIdentity(ctx, s, g.holder, taken{had: true, upTo: rec.Generation}))
}
