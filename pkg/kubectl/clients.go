package kubectl

import (
	"context"
	"fmt"
	"time"

	snapshots "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	"k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // what kubeconfigs of clouds name
	"k8s.io/client-go/tools/clientcmd"

	"github.com/strata-csi/strata/pkg/version"
)

// Executor runs a command in a container and returns its standard output. A command that fails is an error with its standard error.
type Executor interface {
	Run(ctx context.Context, namespace, pod, container string, command []string) ([]byte, error)
}

// Clients are the ways to a Kubernetes cluster.
type Clients struct {
	Kube      kubernetes.Interface
	Snapshots snapshots.Interface
	Exec      Executor
	Namespace string           // of the driver
	Now       func() time.Time // of this machine
}

// Access says which cluster is meant, as with kubectl.
type Access struct {
	Kubeconfig string // file; "" is kubectl's own search
	Context    string // of the kubeconfig; "" is its current one
	Namespace  string // of the driver
}

// Connect makes the clients. It asks the cluster for nothing.
func Connect(a Access) (Clients, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: a.Context}).ClientConfig()
	if err != nil {
		return Clients{}, fmt.Errorf("kubeconfig: %w", err)
	}
	config.UserAgent = "kubectl-strata/" + version.String()
	config.QPS, config.Burst = 50, 100 // a doctor asks some dozen things at once, and then no more
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return Clients{}, fmt.Errorf("kubeconfig: %w", err)
	}
	snaps, err := snapshots.NewForConfig(config)
	if err != nil {
		return Clients{}, fmt.Errorf("kubeconfig: %w", err)
	}
	return Clients{Kube: kube, Snapshots: snaps, Exec: &remote{config: config, client: kube}, Namespace: a.Namespace, Now: time.Now}, nil
}
