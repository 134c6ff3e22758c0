package client

// What is wrong with a volume on this node, in words for the person who has to repair it.

import (
	"context"
	"fmt"

	"github.com/strata-csi/strata/pkg/clientmount"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/volume"
)

// The reasons of a Condition, besides those of pkg/clientmount and of pkg/coldfs/control.
const (
	ReasonEngineDetached = "EngineDetached"
	ReasonEngineUnheard  = "EngineUnheard"
)

// MountHealth implements tier.MountHealthReporter.
func (s *Stager) MountHealth(ctx context.Context, id volume.ID, path string) ([]volume.Condition, error) {
	if err := s.Staged(ctx, id, path); err != nil {
		c, err := clientmount.Condition(ctx, id, path, err, clientmount.Words{Died: s.obituary, Silent: "look at the store and at the network between this node and it"})
		if err != nil {
			return nil, err
		}
		return []volume.Condition{c}, nil
	}
	st, known, err := s.holder.Status(ctx, sourceOf(id))
	switch {
	case err != nil:
		return []volume.Condition{{Severity: volume.Degraded, Reason: ReasonEngineUnheard, Message: fmt.Sprintf(
			"the volume is mounted at %s and answers; what its engine says of the store isn't known: %v", path, err)}}, nil
	case !known || st.Detached:
		return []volume.Condition{{Severity: volume.Degraded, Reason: ReasonEngineDetached, Message: fmt.Sprintf(
			"the volume is mounted at %s and answers; its engine was started by an earlier strata-mountd, takes no new credentials, and what it says of the store is in its log alone; "+
				"it is replaced when the volume is staged anew: delete the pods that use it on this node, at leisure", path)}}, nil
	}
	var all []volume.Condition
	for _, c := range st.Conditions {
		all = append(all, volume.Condition{Severity: severity(c.Reason), Reason: c.Reason, Message: c.Text})
	}
	return all, nil
}

// severity is how bad a condition of an engine is. A reason that a later engine has is not taken for worse than it may be.
func severity(reason string) volume.Severity {
	switch reason {
	case control.CredentialRefused, control.BucketMissing, control.EndpointUnreachable:
		return volume.Inaccessible
	}
	return volume.Degraded
}

// obituary says why a mount is dead.
func (s *Stager) obituary(ctx context.Context, id volume.ID, _ string, _ error) string {
	why := "its engine, strata-coldfs, has ended"
	if fate := s.holder.Fate(ctx, sourceOf(id)); fate != "" {
		why += " (" + fate + ")"
	}
	return why
}
