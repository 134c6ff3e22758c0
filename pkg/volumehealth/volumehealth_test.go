package volumehealth

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/volume"
)

func TestSeveritiesAreTranslatedAndKindsNotRepeated(t *testing.T) {
	h := Message("warm:a", []volume.Condition{
		{Severity: volume.Degraded, Reason: "A", Message: "1"}, {Severity: volume.DataLoss, Reason: "A", Message: "2"},
		{Severity: volume.Inaccessible, Reason: "A", Message: "3"}, {Severity: volume.Degraded, Reason: "A", Message: "4"},
	})
	want := []csi.VolumeHealthErrorType{csi.VolumeHealthErrorType_DEGRADED, csi.VolumeHealthErrorType_DATA_LOSS, csi.VolumeHealthErrorType_INACCESSIBLE}
	if h.GetVolumeId() != "warm:a" || len(h.GetHealthStatuses()) != len(want) {
		t.Fatalf("got %v", h)
	}
	for i, w := range want {
		if got := h.GetHealthStatuses()[i]; got.GetStatus() != w || got.GetMessage() != string(rune('1'+i)) {
			t.Errorf("%d: got %v", i, got)
		}
	}
}
