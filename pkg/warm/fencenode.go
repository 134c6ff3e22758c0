package warm

// Fencing a node: every client of its addresses is shut out, and none from there comes in, whatever keys it has. Keys aren't taken away:
// those of its volumes are the same on other nodes, which go on.
//
// Its addresses are blocklisted as a whole, and its present clients one by one besides. The former are lifted when the fence is undone; the
// latter stay, so that what was shut out then doesn't go on (docs/decisions/0036).

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/volume"
)

// Node is a machine with clients.
type Node struct {
	Addresses []netip.Addr // from which it reaches the clusters; at least one
	Hosts     []string     // how it may be called in what its clients say of themselves
}

// NodeFenced is what came of fencing a node in one cluster, or of undoing it.
type NodeFenced struct {
	Cluster string
	// Addresses are those that are on the blocklist now; after undoing it, those that aren't any more.
	Addresses []netip.Addr
	// ShutOut are the clients that it had, by file system.
	ShutOut map[string][]ceph.Session
	// Err is why that isn't all.
	Err error
}

// ErrDaemons says that daemons of Ceph work at an address.
var ErrDaemons = errors.New("daemons of Ceph work there, which would be shut out too")

// ErrOtherAddress says that a node seems to have an address that wasn't named.
var ErrOtherAddress = errors.New("clients that say they are of this node have another address")

// FenceNode shuts a node out of every cluster, and returns when it has no session left. It may be repeated. Of a cluster with ErrNoFencing or
// ErrDaemons nothing is done; with ErrOtherAddress all is done, and may not be enough.
func (b *Backend) FenceNode(ctx context.Context, n Node) []NodeFenced {
	return b.eachFencer(ctx, func(c clusters.Cluster, conn ceph.Conn, f *NodeFenced) error {
		daemons, err := ceph.Daemons(ctx, conn)
		if err != nil {
			return err
		}
		for _, ip := range n.Addresses {
			if d := daemons[ip]; len(d) > 0 {
				return fmt.Errorf("%w: %s: %w: %s; fence its volumes instead", volume.ErrPrecondition, ip, ErrDaemons, strings.Join(d, ", "))
			}
		}
		var systems []string
		for s, err := range b.sitesOf(ctx, c) {
			if err != nil {
				return errors.Join(err, shutNodeOut(ctx, conn, n, systems, f)) // the addresses all the same
			}
			systems = append(systems, s.fs.Name())
		}
		return shutNodeOut(ctx, conn, n, systems, f)
	})
}

// UnfenceNode lets clients of the node's addresses in again. Those that were there when it was fenced stay out.
func (b *Backend) UnfenceNode(ctx context.Context, n Node) []NodeFenced {
	return b.eachFencer(ctx, func(_ clusters.Cluster, conn ceph.Conn, f *NodeFenced) error {
		for _, ip := range n.Addresses {
			if err := ceph.LiftIP(ctx, conn, ip); err != nil {
				return err
			}
			f.Addresses = append(f.Addresses, ip)
		}
		return nil
	})
}

// eachFencer does something in every cluster as the user for fencing. A cluster that fails doesn't keep it from the others.
func (b *Backend) eachFencer(ctx context.Context, do func(c clusters.Cluster, conn ceph.Conn, f *NodeFenced) error) []NodeFenced {
	var all []NodeFenced
	for _, id := range b.clusters.IDs() {
		f := NodeFenced{Cluster: id, ShutOut: map[string][]ceph.Session{}}
		c, err := b.clusters.Get(id)
		if err == nil {
			var conn ceph.Conn
			var done func()
			if conn, done, err = b.fencer(ctx, c); err == nil {
				err = do(c, conn, &f)
				done()
			}
		}
		f.Err = classify(err)
		all = append(all, f)
	}
	return all
}

// shutNodeOut puts the node's clients and then its addresses on the blocklist, and returns when no session of its is left.
func shutNodeOut(ctx context.Context, conn ceph.Conn, n Node, systems []string, f *NodeFenced) error {
	// The clients first, as those whose sessions the addresses end are seen no more. What goes wrong here does so again below.
	_, _ = shutClientsOut(ctx, conn, n, systems, f)
	for _, ip := range n.Addresses {
		if err := ceph.BlocklistIP(ctx, conn, ip, fenceTime); err != nil {
			return err
		}
		f.Addresses = append(f.Addresses, ip)
	}
	for {
		left, err := shutClientsOut(ctx, conn, n, systems, f)
		if left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the metadata servers have not ended the sessions of %d clients on the blocklist", volume.ErrPending, left)
		case <-time.After(fencePoll):
		}
	}
}

// shutClientsOut puts the clients of the node's addresses on the blocklist, and says how many sessions there were. ErrOtherAddress: it may
// have more.
func shutClientsOut(ctx context.Context, conn ceph.Conn, n Node, systems []string, f *NodeFenced) (left int, err error) {
	elsewhere := map[netip.Addr]bool{}
	for _, fs := range systems {
		sessions, err := ceph.AllSessions(ctx, conn, fs)
		if err != nil {
			return 0, err
		}
		for _, session := range sessions {
			if !slices.Contains(n.Addresses, session.IP()) {
				if slices.Contains(n.Hosts, session.Host) {
					elsewhere[session.IP()] = true
				}
				continue
			}
			left++
			if slices.ContainsFunc(f.ShutOut[fs], func(o ceph.Session) bool { return o.Address == session.Address }) {
				continue
			}
			if err := ceph.Blocklist(ctx, conn, session.Address, fenceTime); err != nil {
				return 0, err
			}
			f.ShutOut[fs] = append(f.ShutOut[fs], session)
		}
	}
	return left, otherAddress(elsewhere)
}

func otherAddress(found map[netip.Addr]bool) error {
	var errs []error
	for ip := range found {
		errs = append(errs, fmt.Errorf("%w, %s: if it is the node's, fence it again with --address=%s too", ErrOtherAddress, ip, ip))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", volume.ErrPrecondition, errors.Join(errs...))
}
