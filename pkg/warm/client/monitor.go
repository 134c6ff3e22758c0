package client

// What the Monitor of this tier's mounts has to know: which they are, and whose.

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/clientmount"
	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// Monitor looks at every mount of the driver on the node, whichever strata-node made it.
type Monitor struct {
	*clientmount.Monitor
	stager *Stager
	driver string
}

// NewMonitor returns a Monitor that tells the users of a volume through a Recorder when a mount dies, falls silent or is
// repaired. It is made before the Stager is used. driver is the CSI driver's name, as kubelet writes it beside a staging path.
func NewMonitor(s *Stager, driver string, tell events.Recorder) *Monitor {
	m := &Monitor{stager: s, driver: driver}
	m.Monitor = clientmount.NewMonitor(s.mounts, tell, m.volumeOf)
	return m
}

// own tells whether a row is of a client that this driver started. The kernel's mounts don't say who made them: those of a directory where
// only the manager makes volumes are taken for ours.
func (s *Stager) own(m mountpoint.Mount) bool {
	if slices.Contains(s.fuseTypes, m.FSType) {
		return strings.HasPrefix(m.Source, sourcePrefix)
	}
	_, path, ok := strings.Cut(m.Source, ":/")
	return m.FSType == kernelType && ok && strings.HasPrefix("/"+path, "/volumes/") && strings.Count(path, "/") >= 2
}

// volumeOf finds the id of the volume that rows show: a ceph-fuse mount says it itself, and of a kernel's mount kubelet wrote it beside
// the staging path (vol_data.json; pkg/volume/csi in Kubernetes).
func (m *Monitor) volumeOf(rows []mountpoint.Mount) (volume.ID, bool) {
	for _, row := range rows {
		if text, ok := strings.CutPrefix(row.Source, sourcePrefix); ok {
			id, err := volume.ParseID(text)
			return id, err == nil
		}
		raw, err := os.ReadFile(filepath.Join(filepath.Dir(row.Path), "vol_data.json"))
		if err != nil {
			continue
		}
		var data struct {
			Driver string `json:"driverName"`
			Handle string `json:"volumeHandle"`
		}
		if json.Unmarshal(raw, &data) != nil || data.Driver != m.driver {
			continue
		}
		id, err := volume.ParseID(data.Handle)
		if err != nil {
			continue
		}
		if t, ok := m.stager.targetOf(id); ok && t.client(row) {
			return id, true
		}
	}
	return "", false
}
