package main

import (
	"slices"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

const driver = "csi.strata.dev"

// What can't be changed later, or must not be otherwise.
func TestTheDriverObject(t *testing.T) {
	each(t, func(t *testing.T, all []object) {
		found := false
		for _, o := range all {
			d, ok := o.obj.(*storagev1.CSIDriver)
			if !ok {
				continue
			}
			found = true
			s := d.Spec
			if d.Name != driver || s.AttachRequired == nil || *s.AttachRequired || s.PodInfoOnMount == nil || !*s.PodInfoOnMount || s.SELinuxMount == nil || *s.SELinuxMount ||
				s.RequiresRepublish == nil || len(s.TokenRequests) > 0 || s.FSGroupPolicy == nil {
				t.Errorf("%s: %s", o, o.text)
			}
			if !slices.Equal(s.VolumeLifecycleModes, []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral}) {
				t.Errorf("%s: %v", o, s.VolumeLifecycleModes)
			}
			// It costs every pod of the driver a call in a minute, and without it credentials of volumes end.
			if *s.RequiresRepublish != mintsCredentials(all) {
				t.Errorf("%s: requiresRepublish %t", o, *s.RequiresRepublish)
			}
			// The scheduler would wait for capacities that nobody tells, or not for those that somebody does.
			if *s.StorageCapacity != hasArgument(all, "csi-provisioner", "--enable-capacity") {
				t.Errorf("%s: storageCapacity %t", o, *s.StorageCapacity)
			}
		}
		if !found {
			t.Error("there is no CSIDriver")
		}
	})
}

// mintsCredentials tells whether a cold class has credentials for each volume.
func mintsCredentials(all []object) bool {
	return slices.ContainsFunc(all, func(o object) bool {
		c, ok := o.obj.(*storagev1.StorageClass)
		return ok && c.Parameters["tier"] == "cold" && c.Parameters["identity"] == "volume"
	})
}

func hasArgument(all []object, container, argument string) bool {
	for _, o := range all {
		if p, _, ok := template(o); ok {
			for _, c := range p.Spec.Containers {
				if c.Name == container && slices.Contains(c.Args, argument) {
					return true
				}
			}
		}
	}
	return false
}

func TestClasses(t *testing.T) {
	each(t, func(t *testing.T, all []object) {
		classes := 0
		for _, o := range all {
			switch c := o.obj.(type) {
			case *storagev1.StorageClass:
				classes++
				if c.Provisioner != driver {
					t.Errorf("%s: provisioner %q", o, c.Provisioner)
				}
				switch c.Parameters["tier"] {
				case "warm":
					if c.Parameters["csi.storage.k8s.io/node-stage-secret-name"] == "" || c.Parameters["csi.storage.k8s.io/node-stage-secret-namespace"] == "" {
						t.Errorf("%s: nodes get no secret to mount with: %v", o, c.Parameters)
					}
				case "cold":
					for _, who := range []string{"provisioner", "controller-expand", "node-stage", "node-publish"} {
						if c.Parameters["csi.storage.k8s.io/"+who+"-secret-name"] == "" || c.Parameters["csi.storage.k8s.io/"+who+"-secret-namespace"] == "" {
							t.Errorf("%s: no %s secret: %v", o, who, c.Parameters)
						}
					}
				case "scratch":
					if *c.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer || *c.ReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
						t.Errorf("%s: bound %s, then %s", o, *c.VolumeBindingMode, *c.ReclaimPolicy)
					}
				default:
					t.Errorf("%s: tier %q", o, c.Parameters["tier"])
				}
			case *snapshotv1.VolumeSnapshotClass:
				if c.Driver != driver {
					t.Errorf("%s: driver %q", o, c.Driver)
				}
			}
		}
		if classes == 0 {
			t.Error("no StorageClass")
		}
	})
}

// No credential is in a rendering: Secrets are the operator's.
func TestNoSecretIsRendered(t *testing.T) {
	each(t, func(t *testing.T, all []object) {
		for _, o := range all {
			if _, ok := o.obj.(*corev1.Secret); ok {
				t.Errorf("%s", o)
			}
			if m, ok := o.obj.(*corev1.ConfigMap); ok && strings.Contains(m.Data["node.yaml"], "controller") {
				t.Errorf("%s: nodes read of the controller: %s", o, m.Data["node.yaml"])
			}
		}
	})
}

// Nodes with the label of a group are its DaemonSet's alone.
func TestGroupsShareNoNode(t *testing.T) {
	var plain *daemonSet
	groups := map[string]bool{}
	for _, o := range objects(t, files(t, "everything")) {
		d, ok := o.obj.(*daemonSet)
		switch group, _ := strings.CutPrefix(o.meta.GetName(), "strata-node-"); {
		case !ok:
		case d.Name == "strata-node":
			plain = d
		case strings.HasPrefix(d.Name, "strata-node-"):
			groups[group] = true
			if got := d.Spec.Template.Spec.NodeSelector["csi.strata.dev/scratch-group"]; got != group {
				t.Errorf("%s runs on the nodes of group %q", o, got)
			}
		}
	}
	if plain == nil || len(groups) != 2 {
		t.Fatalf("DaemonSet strata-node: %v, groups %v", plain != nil, groups)
	}
	for _, term := range plain.Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		i := slices.IndexFunc(term.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool { return r.Key == "csi.strata.dev/scratch-group" })
		if i < 0 || term.MatchExpressions[i].Operator != corev1.NodeSelectorOpNotIn || len(term.MatchExpressions[i].Values) != 2 {
			t.Errorf("a term of strata-node lets the nodes of groups in: %v", term)
		}
		if len(term.MatchExpressions) != 2 {
			t.Errorf("the operator's own expression is gone: %v", term)
		}
	}
}
