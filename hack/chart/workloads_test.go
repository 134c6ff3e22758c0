package main

import (
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type (
	deployment = appsv1.Deployment
	daemonSet  = appsv1.DaemonSet
)

func schemaKind(gv metav1.GroupVersion, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: gv.Group, Version: gv.Version, Kind: kind}
}

// Objects are decoded strictly in every test; here nothing is there twice, and what is in a namespace is in the release's.
func TestObjectsAreUniqueAndInTheNamespace(t *testing.T) {
	clusterWide := map[string]bool{"Namespace": true, "ClusterRole": true, "ClusterRoleBinding": true, "CSIDriver": true, "StorageClass": true, "VolumeSnapshotClass": true,
		"ValidatingAdmissionPolicy": true, "ValidatingAdmissionPolicyBinding": true}
	each(t, func(t *testing.T, all []object) {
		seen := map[string]bool{}
		for _, o := range all {
			key := o.kind() + "/" + o.meta.GetName()
			if seen[key] {
				t.Errorf("%s is there twice", key)
			}
			seen[key] = true
			if want := map[bool]string{true: "", false: "strata"}[clusterWide[o.kind()]]; o.meta.GetNamespace() != want {
				t.Errorf("%s is in namespace %q, want %q", o, o.meta.GetNamespace(), want)
			}
			if o.meta.GetLabels()["app.kubernetes.io/name"] != "strata" {
				t.Errorf("%s has labels %v", o, o.meta.GetLabels())
			}
		}
	})
}

func TestSelectorsMatchTheirPodsAlone(t *testing.T) {
	each(t, func(t *testing.T, all []object) {
		pods := map[string]labels.Set{}
		for _, o := range all {
			if p, _, ok := template(o); ok {
				pods[o.meta.GetName()] = p.Labels
			}
		}
		check := func(o object, s *metav1.LabelSelector, want int) {
			selector, err := metav1.LabelSelectorAsSelector(s)
			if err != nil {
				t.Fatalf("%s: %v", o, err)
			}
			var got []string
			for name, l := range pods {
				if selector.Matches(l) {
					got = append(got, name)
				}
			}
			if len(got) != want {
				t.Errorf("%s selects the pods of %v, and should those of %d", o, got, want)
			}
		}
		daemons := 0
		for _, o := range all {
			if o.kind() == "DaemonSet" && strings.HasPrefix(o.meta.GetName(), "strata-node") {
				daemons++
			}
		}
		for _, o := range all {
			if p, s, ok := template(o); ok {
				check(o, s, 1)
				for _, c := range p.Spec.TopologySpreadConstraints {
					check(o, c.LabelSelector, 1)
				}
			}
			switch w := o.obj.(type) {
			case *policyv1.PodDisruptionBudget:
				check(o, w.Spec.Selector, 1)
			case *networkingv1.NetworkPolicy:
				check(o, &w.Spec.PodSelector, 1)
			case *corev1.Service:
				want := 1
				if w.Name == "strata-node-metrics" {
					want = daemons
				}
				check(o, &metav1.LabelSelector{MatchLabels: w.Spec.Selector}, want)
			case *serviceMonitor:
				found := false
				for _, other := range all {
					if s, ok := other.obj.(*corev1.Service); ok && labels.SelectorFromSet(w.Spec.Selector.MatchLabels).Matches(labels.Set(s.Labels)) {
						found = true
						for _, e := range w.Spec.Endpoints {
							if !hasPort(s, e.Port) {
								t.Errorf("%s: %s has no port %s", o, s.Name, e.Port)
							}
						}
					}
				}
				if !found {
					t.Errorf("%s selects no Service", o)
				}
			}
		}
	})
}

func hasPort(s *corev1.Service, name string) bool {
	for _, p := range s.Spec.Ports {
		if p.Name == name {
			return true
		}
	}
	return false
}

// What a container mounts is there, what a Service or a probe names is a port, and what is in the pod but not privileged is held.
func TestPodsAreWhole(t *testing.T) {
	each(t, func(t *testing.T, all []object) {
		maps, accounts := map[string]map[string]string{}, map[string]bool{}
		for _, o := range all {
			switch w := o.obj.(type) {
			case *corev1.ConfigMap:
				maps[w.Name] = w.Data
			case *corev1.ServiceAccount:
				accounts[w.Name] = true
			}
		}
		for _, o := range all {
			p, _, ok := template(o)
			if !ok {
				continue
			}
			if !accounts[p.Spec.ServiceAccountName] {
				t.Errorf("%s: ServiceAccount %q isn't in the chart", o, p.Spec.ServiceAccountName)
			}
			volumes := map[string]bool{}
			for _, v := range p.Spec.Volumes {
				volumes[v.Name] = false
				for _, c := range configMaps(v) {
					for _, item := range c.Items {
						if _, ok := maps[c.Name][item.Key]; !ok {
							t.Errorf("%s: volume %s wants key %s of ConfigMap %s", o, v.Name, item.Key, c.Name)
						}
					}
				}
			}
			for _, c := range p.Spec.Containers {
				checkContainer(t, o, p.Spec, c, volumes)
			}
			for name, used := range volumes {
				if !used {
					t.Errorf("%s: volume %s is used by no container", o, name)
				}
			}
			for _, l := range p.Spec.Tolerations {
				if l.Operator == corev1.TolerationOpExists && l.Key == "csi.strata.dev/not-ready" && strings.Contains(o.meta.GetName(), "controller") {
					t.Errorf("%s tolerates the startup taint: it isn't needed to take it away", o)
				}
			}
		}
	})
}

func configMaps(v corev1.Volume) []corev1.ConfigMapProjection {
	var out []corev1.ConfigMapProjection
	if c := v.ConfigMap; c != nil {
		out = append(out, corev1.ConfigMapProjection{LocalObjectReference: c.LocalObjectReference, Items: c.Items})
	}
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			if s.ConfigMap != nil {
				out = append(out, *s.ConfigMap)
			}
		}
	}
	return out
}

var imageForm = regexp.MustCompile(`^[a-z0-9./-]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$`)

func checkContainer(t *testing.T, o object, pod corev1.PodSpec, c corev1.Container, volumes map[string]bool) {
	t.Helper()
	where := o.String() + ", container " + c.Name
	if !imageForm.MatchString(c.Image) || strings.HasSuffix(c.Image, ":latest") {
		t.Errorf("%s: image %q needs a tag other than latest, or a digest", where, c.Image)
	}
	var bidirectional []string
	for _, m := range c.VolumeMounts {
		if _, ok := volumes[m.Name]; !ok {
			t.Errorf("%s: no volume %s", where, m.Name)
		}
		volumes[m.Name] = true
		if m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationBidirectional {
			bidirectional = append(bidirectional, m.MountPath)
		}
	}
	// Such a mount would stay on the node, once more at every start of the container.
	for _, m := range c.VolumeMounts {
		for _, b := range bidirectional {
			if strings.HasPrefix(m.MountPath, b+"/") {
				t.Errorf("%s: %s is mounted below %s, which is Bidirectional", where, m.MountPath, b)
			}
		}
	}
	s := c.SecurityContext
	switch {
	case s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem:
		t.Errorf("%s: its root file system can be written", where)
	case s.Privileged != nil && *s.Privileged:
		if len(bidirectional) == 0 {
			t.Errorf("%s: is privileged without a Bidirectional mount", where)
		}
	default:
		if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Capabilities == nil || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || len(s.Capabilities.Add) > 0 {
			t.Errorf("%s: has capabilities", where)
		}
		if ps := pod.SecurityContext; ps == nil || ps.RunAsNonRoot == nil || !*ps.RunAsNonRoot || ps.SeccompProfile == nil || ps.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: runs as root or without seccomp", where)
		}
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
		t.Errorf("%s: requests nothing", where)
	}
	if strings.Contains(c.Name, "mountd") && !c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s: a memory limit ends the mounts of running pods", where)
	}
	ports := map[string]bool{}
	for _, p := range c.Ports {
		ports[p.Name] = true
		if pod.HostNetwork && p.HostPort != 0 && p.HostPort != p.ContainerPort {
			t.Errorf("%s: host port %d", where, p.HostPort)
		}
		if len(p.Name) > 15 {
			t.Errorf("%s: port %s has more than 15 characters", where, p.Name)
		}
	}
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		switch {
		case probe == nil:
		case probe.HTTPGet != nil && !ports[probe.HTTPGet.Port.StrVal], probe.TCPSocket != nil && !ports[probe.TCPSocket.Port.StrVal]:
			t.Errorf("%s: a probe asks a port that it doesn't have", where)
		}
	}
	// A dollar in parentheses is a variable of the container's own environment.
	for _, a := range append(append([]string{}, c.Command...), c.Args...) {
		for _, v := range regexp.MustCompile(`\$\((\w+)\)`).FindAllStringSubmatch(a, -1) {
			found := false
			for _, e := range c.Env {
				found = found || e.Name == v[1]
			}
			if !found {
				t.Errorf("%s: %s wants variable %s", where, a, v[1])
			}
		}
	}
}

// strata-mountd is replaced by hand and holds no token; nobody restarts it for a probe.
func TestTheHolderIsLeftAlone(t *testing.T) {
	seen := false
	each(t, func(t *testing.T, all []object) {
		for _, o := range all {
			d, ok := o.obj.(*daemonSet)
			if !ok || d.Name != "strata-mountd" {
				continue
			}
			seen = true
			if d.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
				t.Errorf("%s: update strategy %q", o, d.Spec.UpdateStrategy.Type)
			}
			if a := d.Spec.Template.Spec.AutomountServiceAccountToken; a == nil || *a {
				t.Errorf("%s has a token", o)
			}
			for _, c := range d.Spec.Template.Spec.Containers {
				if c.LivenessProbe != nil || c.StartupProbe != nil {
					t.Errorf("%s: a probe can end it", o)
				}
			}
		}
	})
	if !seen {
		t.Error("no case has the holder")
	}
}
