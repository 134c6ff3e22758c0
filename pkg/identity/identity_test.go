package identity

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/volume"
)

func TestPluginInfoIsComplete(t *testing.T) {
	r, err := new(Service).GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{})
	if err != nil || r.GetName() != "csi.strata.dev" || r.GetVendorVersion() == "" {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestTheDriverHasAControllerAndGrowsVolumesInUse(t *testing.T) {
	for _, topology := range []bool{false, true} {
		r, err := (&Service{Topology: topology}).GetPluginCapabilities(t.Context(), &csi.GetPluginCapabilitiesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var controller, online, constraints bool
		for _, c := range r.GetCapabilities() {
			controller = controller || c.GetService().GetType() == csi.PluginCapability_Service_CONTROLLER_SERVICE
			constraints = constraints || c.GetService().GetType() == csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS
			online = online || c.GetVolumeExpansion().GetType() == csi.PluginCapability_VolumeExpansion_ONLINE
		}
		if !controller || !online || constraints != topology {
			t.Errorf("topology %t: got %v", topology, r.GetCapabilities())
		}
	}
}

func TestProbe(t *testing.T) {
	down := errors.New("no monitor answers")
	for _, c := range []struct {
		name  string
		ready func(context.Context) error
		err   error
	}{
		{"without a check", nil, nil},
		{"ready", func(context.Context) error { return nil }, nil},
		{"not ready", func(context.Context) error { return down }, down},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := (&Service{Ready: c.ready}).Probe(t.Context(), &csi.ProbeRequest{})
			if c.err == nil {
				if err != nil || !r.GetReady().GetValue() {
					t.Errorf("got %v, %v", r, err)
				}
				return
			}
			if !errors.Is(err, volume.ErrPrecondition) || !errors.Is(err, c.err) || !strings.Contains(err.Error(), "no monitor answers") {
				t.Errorf("got %v", err)
			}
		})
	}
}
