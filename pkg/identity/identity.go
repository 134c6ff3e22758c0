// Package identity is the CSI Identity service, the same in the controller and on a node.
package identity

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/strata-csi/strata/pkg/version"
	"github.com/strata-csi/strata/pkg/volume"
)

// DriverName is the name of the driver in a StorageClass and a CSIDriver object.
const DriverName = "csi.strata.dev"

// Service answers the Identity calls.
type Service struct {
	csi.UnimplementedIdentityServer
	// Ready says why the plugin can't work now, or nil. Without it, it always can.
	Ready func(context.Context) error
	// Topology says that some volumes can't be reached from every node (VOLUME_ACCESSIBILITY_CONSTRAINTS). It must be the same in the
	// controller and on every node; external-provisioner makes no volume for a node that then reports no topology.
	Topology bool
}

// GetPluginInfo names the driver and its build.
func (*Service) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: DriverName, VendorVersion: version.String()}, nil
}

// GetPluginCapabilities lists what the driver as a whole has: the specification wants the same answer from the
// controller and the node (section "GetPluginCapabilities").
func (s *Service) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	services := []csi.PluginCapability_Service_Type{csi.PluginCapability_Service_CONTROLLER_SERVICE}
	if s.Topology {
		services = append(services, csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS)
	}
	resp := &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{
			Type: csi.PluginCapability_VolumeExpansion_ONLINE,
		}}},
	}}
	for _, t := range services {
		resp.Capabilities = append(resp.Capabilities, &csi.PluginCapability{
			Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: t}},
		})
	}
	return resp, nil
}

// Probe answers FailedPrecondition with the reason while the plugin isn't ready ("Plugin not healthy"). The answer
// ready=false is not used: it means that the plugin is starting, and the sidecars wait for it in silence.
func (s *Service) Probe(ctx context.Context, _ *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	if s.Ready != nil {
		if err := s.Ready(ctx); err != nil {
			return nil, fmt.Errorf("%w: not ready: %w", volume.ErrPrecondition, err)
		}
	}
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}
