package client

// How a volume's mount is told from any other, by its row in the mount table alone: it shows the volume's id as its source, and so does every bind of it.

import (
	"strings"

	"github.com/strata-csi/strata/pkg/clientmount"
	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	// sourcePrefix begins the source of every FUSE mount of this driver.
	sourcePrefix = "strata:"
	// fsType is how the mount table shows an engine's mount.
	fsType = "fuse." + mountd.KindColdFS
)

// sourceOf is the source of the volume's mount.
func sourceOf(id volume.ID) string { return sourcePrefix + string(id) }

// known is what pkg/clientmount asks of this tier.
type known struct{}

// Name implements clientmount.Tier.
func (known) Name() volume.Tier { return volume.Cold }

// Target implements clientmount.Tier.
func (known) Target(id volume.ID) (clientmount.Target, bool) {
	return target{sourceOf(id)}, id.Tier() == volume.Cold && len(id.Parts()) > 0
}

// Own implements clientmount.Tier.
func (known) Own(m mountpoint.Mount) bool {
	return m.FSType == fsType && strings.HasPrefix(m.Source, sourcePrefix)
}

type target struct{ source string }

// Client implements clientmount.Target.
func (t target) Client(m mountpoint.Mount) bool { return m.FSType == fsType && m.Source == t.source }

// Complete implements clientmount.Target.
func (t target) Complete(m mountpoint.Mount) bool { return t.Client(m) && m.Root == "/" }

// NewMonitor returns a Monitor that tells the users of a volume through a Recorder when a mount dies, falls silent or is repaired. It is made before the Stager is
// used.
func NewMonitor(s *Stager, tell events.Recorder) *clientmount.Monitor {
	return clientmount.NewMonitor(s.mounts, tell, func(rows []mountpoint.Mount) (volume.ID, bool) {
		id, err := volume.ParseID(strings.TrimPrefix(rows[0].Source, sourcePrefix))
		return id, err == nil
	})
}
