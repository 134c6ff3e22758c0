// Package volumehealth turns what a backend found wrong with a volume into the CSI message that both
// the controller and the node answer with.
package volumehealth

import (
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/volume"
)

// Message is the health of a volume. Of several conditions of one kind the first stays, as the CSI spec demands
// (VolumeHealth).
func Message(id volume.ID, conditions []volume.Condition) *csi.VolumeHealth {
	h := &csi.VolumeHealth{VolumeId: string(id)}
	for _, c := range conditions {
		e := &csi.VolumeHealth_VolumeHealthEntry{Status: status(c.Severity), Reason: c.Reason, Message: c.Message}
		same := func(o *csi.VolumeHealth_VolumeHealthEntry) bool { return o.Status == e.Status && o.Reason == e.Reason }
		if !slices.ContainsFunc(h.HealthStatuses, same) {
			h.HealthStatuses = append(h.HealthStatuses, e)
		}
	}
	return h
}

func status(s volume.Severity) csi.VolumeHealthErrorType {
	switch s {
	case volume.Degraded:
		return csi.VolumeHealthErrorType_DEGRADED
	case volume.DataLoss:
		return csi.VolumeHealthErrorType_DATA_LOSS
	default:
		return csi.VolumeHealthErrorType_INACCESSIBLE
	}
}
