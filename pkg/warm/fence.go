package warm

// Fencing a volume: its keys are taken away, and every client that has it mounted is shut out, wherever it runs. Clients of other volumes
// go on, those on the same node too: every volume has an identity of its own, and every mount an address of its own.
//
// A client is known by the identity that it proved to a metadata server, not by what it says of itself. Its address goes to the blocklist
// of the OSDs, which the metadata servers go by too; it stays there when the fence is undone (docs/decisions/0033).

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	// fenceTime is how long an address stays on the blocklist. A connection that an OSD has with a client isn't proved again while it
	// lasts, so the entry must outlive every such client; the address is no other client's ever.
	fenceTime = 365 * 24 * time.Hour
	// fencePoll is how often it is looked whether the sessions have ended.
	fencePoll = 200 * time.Millisecond
)

// errFenced: the volume has no key, on purpose.
var errFenced = fmt.Errorf("%w: the volume is fenced; `kubectl strata fence --undo` gives it a new key", volume.ErrPrecondition)

// ErrNoFencing says that nobody may see the clients of a cluster.
var ErrNoFencing = errors.New("the cluster configuration has no user that may see clients and shut them out (fencing), see docs/security.md")

// Fenced is what came of fencing a volume.
type Fenced struct {
	Keys Keys
	// ShutOut are the clients that had it mounted.
	ShutOut []ceph.Session
}

// Fence takes a volume from everybody who has it: the secret first, so that nothing mounts it any more, then its identities, then the
// clients. It returns when no session is left, and may be repeated, which also finds clients that came meanwhile with a ticket from
// before. volume.ErrNotFound, ErrNoIdentity: as Rotate. ErrNoFencing: without a user for it nothing is done.
func (b *Backend) Fence(ctx context.Context, id volume.ID) (Fenced, error) {
	var f Fenced
	err := b.withIdentity(ctx, id, "fence", func(ctx context.Context, s site, g grant, rec identityRecord) error {
		conn, done, err := b.fencer(ctx, s.cluster)
		if err != nil {
			return err
		}
		defer done()
		rec.Fenced = true
		if err := writeAttr(ctx, s.tree().SetXattr, identityPath(s, g.holder), rec); err != nil {
			return interrupted(err)
		}
		if err := b.keeper.Drop(ctx, g.secret, g.id); err != nil {
			return err
		}
		f.Keys = Keys{Volume: id, Fenced: true, Retired: names(s, g.holder, rec.Oldest, rec.Generation)}
		if err := unmint(ctx, s, f.Keys.Retired); err != nil {
			return err
		}
		// Those of retired identities too: who had a ticket may be there still.
		f.ShutOut, err = shutOut(ctx, conn, s.fs.Name(), names(s, g.holder, 0, rec.Generation))
		return err
	})
	return f, classify(err)
}

// Unfence gives a fenced volume a new key; one that isn't fenced keeps its own. The clients that were shut out stay so: what mounts the
// volume from now on is another client.
func (b *Backend) Unfence(ctx context.Context, id volume.ID) (Keys, error) {
	var keys Keys
	err := b.withIdentity(ctx, id, "undo a fence", func(ctx context.Context, s site, g grant, rec identityRecord) error {
		if !rec.Fenced {
			keys = keysOf(s, g, rec)
			return nil
		}
		// Again, should the fence have been interrupted.
		if err := unmint(ctx, s, names(s, g.holder, rec.Oldest, rec.Generation)); err != nil {
			return err
		}
		rec.Generation++
		rec.Oldest = rec.Generation
		if err := writeAttr(ctx, s.tree().SetXattr, identityPath(s, g.holder), rec); err != nil {
			return interrupted(err)
		}
		if err := b.mint(ctx, s, g, rec); err != nil {
			return err
		}
		rec.Fenced = false // last: until then the repetition begins anew
		if err := writeAttr(ctx, s.tree().SetXattr, identityPath(s, g.holder), rec); err != nil && !ceph.Absent(err) {
			return err
		}
		keys = keysOf(s, g, rec)
		return b.stillThere(ctx, s, g, rec)
	})
	return keys, classify(err)
}

// fencer connects as the user that may see clients and shut them out.
func (b *Backend) fencer(ctx context.Context, c clusters.Cluster) (ceph.Conn, func(), error) {
	if c.Fencing == nil {
		return nil, nil, fmt.Errorf("%w: cluster %s: %w", volume.ErrPrecondition, c.ID, ErrNoFencing)
	}
	c.Credential = c.Fencing
	conn, err := b.dial(ctx, c)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: cluster %s, as client.%s: %w", volume.ErrUnavailable, c.ID, c.Fencing.User, err)
	}
	return conn, conn.Close, nil
}

// shutOut puts the clients of users on the blocklist until none is left, and returns them.
func shutOut(ctx context.Context, conn ceph.Conn, fs string, users []string) ([]ceph.Session, error) {
	var all []ceph.Session
	seen := map[string]bool{}
	for {
		left := 0
		for _, user := range users {
			sessions, err := ceph.Sessions(ctx, conn, fs, user)
			if err != nil {
				return all, err
			}
			left += len(sessions)
			for _, session := range sessions {
				if seen[session.Address] {
					continue
				}
				if err := ceph.Blocklist(ctx, conn, session.Address, fenceTime); err != nil {
					return all, err
				}
				seen[session.Address] = true
				all = append(all, session)
			}
		}
		if left == 0 {
			return all, nil
		}
		select {
		case <-ctx.Done():
			return all, fmt.Errorf("%w: the metadata servers have not ended the sessions of %d clients on the blocklist", volume.ErrPending, left)
		case <-time.After(fencePoll):
		}
	}
}

// ErrInUse says that clients have a volume mounted with a key that was to be retired.
var ErrInUse = errors.New("it is in use")

// unused refuses while clients have something mounted as one of the users.
func (b *Backend) unused(ctx context.Context, s site, users []string) error {
	conn, done, err := b.fencer(ctx, s.cluster)
	if err != nil {
		return err
	}
	defer done()
	var errs []error
	for _, user := range users {
		sessions, err := ceph.Sessions(ctx, conn, s.fs.Name(), user)
		if err != nil {
			return err
		}
		for _, session := range sessions {
			errs = append(errs, fmt.Errorf("%w: client.%s on %s, at %s", ErrInUse, user, session.Host, session.Address))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", volume.ErrPrecondition, errors.Join(errs...))
	}
	return nil
}
