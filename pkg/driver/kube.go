package driver

import (
	"context"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/events/kubeevents"
	"github.com/strata-csi/strata/pkg/identity"
	"github.com/strata-csi/strata/pkg/kube"
	"github.com/strata-csi/strata/pkg/registration"
	"github.com/strata-csi/strata/pkg/rpc"
	"github.com/strata-csi/strata/pkg/scratch/report"
	"github.com/strata-csi/strata/pkg/warm"
)

// cluster is what a node knows of the Kubernetes cluster that it is in. Its methods are what the reaper asks.
type cluster struct {
	*kube.NodePods
	*kube.Volumes
	*kube.Node
	report *kube.NodeReport
	events *kubeevents.Recorder
}

// openCluster reads the credentials and asks nothing yet. Without --kubeconfig there is no cluster: nil.
func openCluster(o NodeOptions) (*cluster, error) {
	if o.Kubeconfig == "" {
		return nil, nil
	}
	client, err := kube.Connect(o.Kubeconfig, "strata-node")
	if err != nil {
		return nil, err
	}
	config, err := kube.Config(o.Kubeconfig, "strata-node")
	if err != nil {
		return nil, err
	}
	events, err := kubeevents.New(config, identity.DriverName, o.NodeID)
	if err != nil {
		return nil, err
	}
	node := kube.NewNode(client, o.NodeID)
	return &cluster{
		NodePods: kube.NewNodePods(client, o.NodeID),
		Volumes:  kube.NewVolumes(client, identity.DriverName),
		Node:     node,
		report:   kube.NewReports(client, o.Namespace).Of(node),
		events:   events,
	}, nil
}

// register returns what makes kubelet know of the driver, or nil when that is somebody else's.
func register(o NodeOptions) (*registration.Registration, error) {
	if o.RegistrationDir == "" {
		return nil, nil
	}
	endpoint, err := rpc.SocketPath(o.Endpoint)
	if err != nil {
		return nil, err
	}
	return registration.New(registration.Options{Dir: o.RegistrationDir, Driver: identity.DriverName, Endpoint: endpoint}), nil
}

// openKeeper is where the keys of volumes with an identity of their own are kept; nil: nowhere, and there are no such volumes.
func openKeeper(o ControllerOptions) (warm.Keeper, error) {
	if o.Kubeconfig == "" {
		return nil, nil
	}
	client, err := kube.ConnectController(o.Kubeconfig, "strata-controller")
	if err != nil {
		return nil, err
	}
	return kube.NewSecrets(client, o.Namespace), nil
}

// openReports is where the controller learns what room the nodes have; nil: nowhere.
func openReports(ctx context.Context, o ControllerOptions) (report.Source, error) {
	log := klog.FromContext(ctx)
	switch {
	case o.ScratchReportDir != "":
		return report.NewReader(log, o.ScratchReportDir, reportAge), nil
	case o.Kubeconfig != "":
		client, err := kube.Connect(o.Kubeconfig, "strata-controller")
		if err != nil {
			return nil, err
		}
		return report.NewListReader(log, kube.NewReports(client, o.Namespace), kube.ReportName, reportAge), nil
	}
	return nil, nil
}
