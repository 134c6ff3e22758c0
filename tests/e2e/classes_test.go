//go:build e2e

package e2e

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The classes of the tests. Those that the chart makes are used by the examples.
const (
	warm        = "e2e-warm"
	warmRetain  = "e2e-warm-retain"
	warmOptions = "e2e-warm-options"
	warmWrong   = "e2e-warm-wrong"
	// scratch is on btrfs, scratchLoop in images with xfs, scratchSmall on a disk of 1 GiB that one test has to itself.
	scratch        = "e2e-scratch"
	scratchLoop    = "e2e-scratch-loop"
	scratchSmall   = "e2e-scratch-small"
	scratchOptions = "e2e-scratch-options"
	cold           = "e2e-cold"
	// coldClosed lets a group do more than everybody.
	coldClosed = "e2e-cold-closed"
	// coldWaits makes a volume only when a pod wants it, and nodes have the key of the claim's namespace.
	coldWaits = "e2e-cold-waits"
	// coldOwn is made by the chart: a volume has credentials of its own.
	coldOwn       = "strata-cold-own"
	snapshotClass = "e2e-warm"

	controllerSecret = "strata-ceph"
	coldSecret       = "strata-cold"
)

func waits(o *storagev1.StorageClass) {
	mode := storagev1.VolumeBindingWaitForFirstConsumer
	o.VolumeBindingMode = &mode
}

func (c *cluster) applyClasses(ctx context.Context) error {
	yes := true
	class := func(name string, parameters map[string]string, change func(*storagev1.StorageClass)) error {
		o := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: driverName, AllowVolumeExpansion: &yes, Parameters: parameters}
		if parameters["tier"] == "scratch" {
			waits(o)
		}
		if change != nil {
			change(o)
		}
		u, err := convert(o)
		if err != nil {
			return err
		}
		return c.apply(ctx, "", u)
	}
	parameters := func(p map[string]string, secret, namespace string, steps []string, more []string) map[string]string {
		for _, step := range steps {
			p["csi.storage.k8s.io/"+step+"-secret-name"], p["csi.storage.k8s.io/"+step+"-secret-namespace"] = secret, namespace
		}
		for i := 0; i < len(more); i += 2 {
			p[more[i]] = more[i+1]
		}
		return p
	}
	onNode := []string{"node-stage", "node-publish"}
	// own is as in the chart's class: a volume has an identity of its own. With shared, all of a namespace are mounted with one.
	own := func(more ...string) map[string]string {
		return parameters(map[string]string{"tier": "warm", "team": "${pvc.namespace}", "identity": "volume"}, "${pv.name}", driverNamespace, onNode, more)
	}
	shared := func(more ...string) map[string]string {
		return parameters(map[string]string{"tier": "warm", "team": "${pvc.namespace}"}, "strata-warm", "${pvc.namespace}", onNode, more)
	}
	options := func(o *storagev1.StorageClass) { o.MountOptions = []string{"noexec", "noatime"} }
	retain := func(o *storagev1.StorageClass) {
		keep := corev1.PersistentVolumeReclaimRetain
		o.ReclaimPolicy = &keep
	}
	inStore := func(more ...string) map[string]string {
		return parameters(map[string]string{"tier": "cold", "team": "${pvc.namespace}", "endpoint": c.store.endpoint, "bucket": volumesBucket},
			coldSecret, driverNamespace, append([]string{"provisioner", "controller-expand"}, onNode...), more)
	}
	local := func(class string) map[string]string { return map[string]string{"tier": "scratch", "class": class} }
	for _, err := range []error{
		class(warm, own(), nil),
		class(warmRetain, own(), retain),
		class(warmOptions, shared(), options),
		class(warmWrong, own("pool", "no-such-pool"), nil),
		class(cold, inStore(), nil),
		class(coldClosed, inStore("dirMode", "0770", "fileMode", "0660"), nil),
		class(coldWaits, parameters(inStore(), coldSecret, "${pvc.namespace}", onNode, nil), waits),
		class(scratch, local("default"), nil),
		class(scratchLoop, local("loop"), nil),
		class(scratchSmall, local("small"), nil),
		class(scratchOptions, local("default"), options),
		// Of the storage tests of Kubernetes, which make namespaces of their own.
		class("e2e-external-warm", own("team", "external"), nil),
		class("e2e-external-cold", inStore("team", "external"), nil),
		class("e2e-external-scratch", map[string]string{"tier": "scratch", "class": "loop", "csi.storage.k8s.io/fstype": "xfs"}, nil),
	} {
		if err != nil {
			return err
		}
	}
	return c.apply(ctx, "", &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": snapshotGroup + "/v1", "kind": "VolumeSnapshotClass", "metadata": map[string]any{"name": snapshotClass},
		"driver": driverName, "deletionPolicy": "Delete", "parameters": map[string]any{"tier": "warm"},
	}})
}
