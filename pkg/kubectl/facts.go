package kubectl

// What doctor asks the API, all at once. A question that fails leaves the others alone: its checks say that they couldn't look.

import (
	"context"
	"strings"
	"sync"

	volumesnapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/inspect"
)

// got is an answer of the API.
type got[T any] struct {
	is  T
	err error
}

type facts struct {
	driver      got[*storagev1.CSIDriver]
	controller  got[*appsv1.Deployment]
	node        got[[]appsv1.DaemonSet] // strata-node, and those of groups of nodes with other disks: strata-node-GROUP
	holder      got[*appsv1.DaemonSet]
	pods        got[[]corev1.Pod] // in the driver's namespace
	nodes       got[[]corev1.Node]
	csiNodes    got[[]storagev1.CSINode]
	classes     got[[]storagev1.StorageClass] // of the driver
	snapClasses got[[]volumesnapshotv1.VolumeSnapshotClass]
	deployments got[[]appsv1.Deployment] // of all namespaces
	accounts    got[[]corev1.ServiceAccount]
	reports     got[[]corev1.ConfigMap] // of scratch room
	claims      got[[]corev1.PersistentVolumeClaim]
}

func (c Clients) facts(ctx context.Context) *facts {
	f := &facts{}
	ns := c.Namespace
	all := metav1.ListOptions{}
	var group sync.WaitGroup
	for _, ask := range []func(){
		func() {
			f.driver.is, f.driver.err = c.Kube.StorageV1().CSIDrivers().Get(ctx, driverName, metav1.GetOptions{})
		},
		func() {
			f.controller.is, f.controller.err = c.Kube.AppsV1().Deployments(ns).Get(ctx, controllerName, metav1.GetOptions{})
		},
		func() {
			l, err := c.Kube.AppsV1().DaemonSets(ns).List(ctx, all)
			f.node = items(l, err, func() (ours []appsv1.DaemonSet) {
				for _, d := range l.Items {
					if d.Name == nodeName || strings.HasPrefix(d.Name, nodeName+"-") {
						ours = append(ours, d)
					}
				}
				return ours
			})
		},
		func() {
			f.holder.is, f.holder.err = c.Kube.AppsV1().DaemonSets(ns).Get(ctx, holderName, metav1.GetOptions{})
		},
		func() {
			l, err := c.Kube.CoreV1().Pods(ns).List(ctx, all)
			f.pods = items(l, err, func() []corev1.Pod { return l.Items })
		},
		func() {
			l, err := c.Kube.CoreV1().Nodes().List(ctx, all)
			f.nodes = items(l, err, func() []corev1.Node { return l.Items })
		},
		func() {
			l, err := c.Kube.StorageV1().CSINodes().List(ctx, all)
			f.csiNodes = items(l, err, func() []storagev1.CSINode { return l.Items })
		},
		func() {
			l, err := c.Kube.StorageV1().StorageClasses().List(ctx, all)
			f.classes = items(l, err, func() (ours []storagev1.StorageClass) {
				for _, s := range l.Items {
					if s.Provisioner == driverName {
						ours = append(ours, s)
					}
				}
				return ours
			})
		},
		func() {
			l, err := c.Snapshots.SnapshotV1().VolumeSnapshotClasses().List(ctx, all)
			f.snapClasses = items(l, err, func() (ours []volumesnapshotv1.VolumeSnapshotClass) {
				for _, s := range l.Items {
					if s.Driver == driverName {
						ours = append(ours, s)
					}
				}
				return ours
			})
		},
		func() {
			l, err := c.Kube.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, all)
			f.deployments = items(l, err, func() []appsv1.Deployment { return l.Items })
		},
		func() {
			l, err := c.Kube.CoreV1().ServiceAccounts(ns).List(ctx, all)
			f.accounts = items(l, err, func() []corev1.ServiceAccount { return l.Items })
		},
		func() { f.reports = c.reports(ctx) },
		func() {
			l, err := c.Kube.CoreV1().PersistentVolumeClaims(metav1.NamespaceAll).List(ctx, all)
			f.claims = items(l, err, func() []corev1.PersistentVolumeClaim { return l.Items })
		},
	} {
		group.Go(ask)
	}
	group.Wait()
	return f
}

// items reads a list unless it couldn't be had.
func items[L any, T any](_ L, err error, read func() []T) got[[]T] {
	if err != nil {
		return got[[]T]{err: err}
	}
	return got[[]T]{is: read()}
}

// unseen is the check of something that couldn't be looked at.
func unseen(check inspect.Check, err error) inspect.Check {
	check.Result, check.Found = inspect.Unknown, err.Error()
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		check.Fix = "docs/kubectl-strata.md has the ClusterRole that this tool needs"
	}
	return check
}
