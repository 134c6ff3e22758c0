// Package kube is what Strata asks of the Kubernetes API, and all that it does there: the pods of a node, whether its kubelet reports, its
// startup taint, the volume handles of PersistentVolumes, ConfigMaps with what nodes report, and, for the controller alone, the Secrets
// with the keys of volumes.
//
// Every answer on which something is destroyed comes from a list without a resourceVersion, which the API server answers with what was
// true when it was asked (Kubernetes API concepts, "Resource versions"): an older view could lack a pod that lives.
package kube

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/strata-csi/strata/pkg/version"
)

// InCluster stands in the place of a path for the credentials that Kubernetes gives to a pod.
const InCluster = "in-cluster"

const (
	// callTimeout bounds every request. Nothing here watches.
	callTimeout = 30 * time.Second
	// A node asks for a few objects a minute. The limits are for the day when something asks too often.
	qps   = 5
	burst = 20
	// The controller asks twice for every volume that is made or deleted; Ceph's manager is slower than that.
	controllerQPS   = 50
	controllerBurst = 100
)

// CheckOptions says what is wrong with the place of the credentials or the namespace, without reading anything.
func CheckOptions(kubeconfig, namespace string) error {
	if kubeconfig != InCluster && !filepath.IsAbs(kubeconfig) {
		return fmt.Errorf("--kubeconfig: %q must be an absolute path, or %q for the ServiceAccount of the pod", kubeconfig, InCluster)
	}
	if bad := validation.IsDNS1123Label(namespace); len(bad) > 0 {
		return fmt.Errorf("--namespace: %q is not the name of a namespace: %s", namespace, bad[0])
	}
	return nil
}

// Config reads the credentials and names the program to the API server. Nothing is asked yet.
func Config(kubeconfig, program string) (*rest.Config, error) {
	c, err := load(kubeconfig)
	if err != nil {
		return nil, err
	}
	c.UserAgent = program + "/" + version.String()
	c.Timeout = callTimeout
	c.QPS, c.Burst = qps, burst
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	return c, nil
}

func load(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == InCluster {
		c, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("--kubeconfig %s: %w; it works in a pod with automountServiceAccountToken: elsewhere give the path of a kubeconfig", InCluster, err)
		}
		return c, nil
	}
	// The library would take an empty file for a server at localhost.
	if info, err := os.Stat(kubeconfig); err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	} else if info.Size() == 0 {
		return nil, fmt.Errorf("--kubeconfig: %s is empty", kubeconfig)
	}
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s: %w", kubeconfig, err)
	}
	return c, nil
}

// Connect returns a client for the program. Nothing is asked yet: an API server that is down makes no program stop.
func Connect(kubeconfig, program string) (*Client, error) {
	c, err := Config(kubeconfig, program)
	if err != nil {
		return nil, err
	}
	return connect(kubeconfig, c)
}

// ConnectController is Connect with the requests of a controller that serves many volumes.
func ConnectController(kubeconfig, program string) (*Client, error) {
	c, err := Config(kubeconfig, program)
	if err != nil {
		return nil, err
	}
	c.QPS, c.Burst = controllerQPS, controllerBurst
	return connect(kubeconfig, c)
}

func connect(kubeconfig string, c *rest.Config) (*Client, error) {
	r, err := newREST(c)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s: %w", kubeconfig, err)
	}
	return &Client{r}, nil
}
