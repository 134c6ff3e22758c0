package kubectl

// Checks of the nodes: who runs there, what kubelet knows, what is reported.

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/strata-csi/strata/pkg/inspect"
)

const (
	// startupTaint is what a node is registered with so that no pod comes before the driver serves there; strata-node takes it off.
	startupTaint = driverName + "/not-ready"
	// topologyKey is the one by which nodes are told apart.
	topologyKey = driverName + "/node"
	// slowStart is what a node may take until the driver serves there.
	slowStart = 5 * time.Minute
)

func labelsOf(o metav1.Object) labels.Set { return o.GetLabels() }

// daemonSets checks that strata-node and strata-mountd run on every node that pods can come to.
func (c Clients) daemonSets(f *facts) []inspect.Check {
	node := inspect.Check{Name: "node", Subject: c.Namespace + "/" + nodeName}
	holder := inspect.Check{Name: "holder", Subject: c.Namespace + "/" + holderName}
	switch {
	case f.node.err != nil:
		return []inspect.Check{unseen(node, f.node.err)}
	case len(f.node.is) == 0:
		node.Result, node.Found, node.Fix = inspect.Fail, "there is no such DaemonSet", deployFix
		return []inspect.Check{node}
	}
	checks := []inspect.Check{c.everywhere(f, node, f.node.is)}
	switch {
	case apierrors.IsNotFound(f.holder.err) && !f.wantsHolder():
		return checks
	case apierrors.IsNotFound(f.holder.err):
		holder.Result, holder.Found, holder.Fix = inspect.Fail, "there is no such DaemonSet, and strata-node was told to use it", deployFix
		return append(checks, holder)
	case f.holder.err != nil:
		return append(checks, unseen(holder, f.holder.err))
	}
	return append(checks, c.everywhere(f, holder, []appsv1.DaemonSet{*f.holder.is}), c.holderUpdates(f.holder.is))
}

// wantsHolder says whether strata-node is to mount through strata-mountd; without a flag it is.
func (f *facts) wantsHolder() bool {
	for _, d := range f.node.is {
		for _, c := range d.Spec.Template.Spec.Containers {
			if c.Name == nodeName && !slices.Contains(c.Args, "--mountd-socket=") {
				return true
			}
		}
	}
	return false
}

// holderUpdates: a holder that is replaced takes the ceph-fuse processes of running pods with it.
func (c Clients) holderUpdates(d *appsv1.DaemonSet) inspect.Check {
	check := inspect.Check{Name: "holder-updates", Subject: c.Namespace + "/" + holderName, Result: inspect.OK, Found: "they change with their nodes, all up to date"}
	s := d.Status
	if strategy := d.Spec.UpdateStrategy.Type; strategy != appsv1.OnDeleteDaemonSetStrategyType {
		check.Result = inspect.Fail
		check.Found = fmt.Sprintf("updateStrategy is %s: an upgrade ends the ceph-fuse processes under running pods", strategy)
		check.Fix = fmt.Sprintf(`kubectl -n %s patch daemonset %s --type merge -p '{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}'`, c.Namespace, holderName)
	} else if old := s.CurrentNumberScheduled - s.UpdatedNumberScheduled; old > 0 {
		check.Found = fmt.Sprintf("%d of %d run an earlier version until their nodes are drained", old, s.CurrentNumberScheduled)
	}
	return check
}

// everywhere checks that a pod of one of the sets is ready on every node that pods can come to.
func (c Clients) everywhere(f *facts, check inspect.Check, sets []appsv1.DaemonSet) inspect.Check {
	for _, err := range []error{f.pods.err, f.nodes.err} {
		if err != nil {
			return unseen(check, err)
		}
	}
	var without, unready []string
	served := 0
	for i := range f.nodes.is {
		n := &f.nodes.is[i]
		pod := f.podOn(sets, n.Name)
		switch {
		case pod == nil && forPods(n):
			without = append(without, n.Name)
		case pod == nil:
		case !podReady(pod):
			unready = append(unready, fmt.Sprintf("%s (%s)", n.Name, podTrouble(pod)))
		default:
			served++
		}
	}
	object := sets[0].Name
	check.Result, check.Found = inspect.OK, "ready on "+plural(served, "node")
	switch {
	case len(unready) > 0:
		check.Result, check.Found = inspect.Fail, "not ready on "+some(unready)
		check.Fix = fmt.Sprintf("kubectl -n %s describe pods -l '%s'; kubectl -n %s logs POD", c.Namespace, metav1.FormatLabelSelector(sets[0].Spec.Selector), c.Namespace)
		if len(without) > 0 {
			check.Found += "; no pod on " + some(without)
		}
	case len(without) > 0:
		check.Result, check.Found = inspect.Fail, "pods can be scheduled, and none of this runs, on "+some(without)
		check.Fix = fmt.Sprintf("kubectl -n %s get daemonset %s -o yaml: its nodeSelector, affinity and tolerations must let it on every node whose pods have volumes",
			c.Namespace, object)
	case served == 0:
		check.Result, check.Found, check.Fix = inspect.Fail, "it runs on no node", fmt.Sprintf("kubectl -n %s describe daemonset %s", c.Namespace, object)
	}
	return check
}

// podOn returns the pod of one of the DaemonSets on a node.
func (f *facts) podOn(sets []appsv1.DaemonSet, node string) *corev1.Pod {
	for i := range f.pods.is {
		p := &f.pods.is[i]
		if p.Spec.NodeName == node && p.DeletionTimestamp == nil && slices.ContainsFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool {
			return o.Kind == "DaemonSet" && slices.ContainsFunc(sets, func(s appsv1.DaemonSet) bool { return s.Name == o.Name })
		}) {
			return p
		}
	}
	return nil
}

// forPods says whether ordinary pods can come to a node; the driver's own taint is no reason against it.
func forPods(n *corev1.Node) bool {
	return !n.Spec.Unschedulable && !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool {
		return t.Key != startupTaint && t.Effect != corev1.TaintEffectPreferNoSchedule
	})
}

// registered checks that kubelet knows the driver wherever strata-node runs, and its topology.
func (f *facts) registered() []inspect.Check {
	check := inspect.Check{Name: "csinode"}
	if f.node.err != nil || len(f.node.is) == 0 { // said already
		return nil
	}
	for _, err := range []error{f.csiNodes.err, f.nodes.err, f.pods.err} {
		if err != nil {
			return []inspect.Check{unseen(check, err)}
		}
	}
	keys := map[string]bool{} // nodes that list the driver, and whether with the topology
	for _, n := range f.csiNodes.is {
		for _, d := range n.Spec.Drivers {
			if d.Name == driverName {
				keys[n.Name] = slices.Contains(d.TopologyKeys, topologyKey)
			}
		}
	}
	apart := false // nodes are told apart
	for _, has := range keys {
		apart = apart || has
	}
	var missing, plain, label []string
	for i := range f.nodes.is {
		n := &f.nodes.is[i]
		if p := f.podOn(f.node.is, n.Name); p == nil || !podReady(p) {
			continue
		}
		switch has, listed := keys[n.Name]; {
		case !listed:
			missing = append(missing, n.Name)
		case apart && !has:
			plain = append(plain, n.Name)
		case has && n.Labels[topologyKey] == "":
			label = append(label, n.Name)
		}
	}
	check.Result, check.Found = inspect.OK, fmt.Sprintf("kubelet knows the driver on %s", plural(len(keys), "node"))
	if apart {
		check.Found += " and tells them apart by " + topologyKey
	}
	switch {
	case len(missing) > 0:
		check.Result, check.Found = inspect.Fail, "strata-node is ready and kubelet doesn't know it on "+some(missing)
		check.Fix = "look for registration in the logs of strata-node and of kubelet there; --registration-dir must be kubelet's plugins_registry"
	case len(plain) > 0:
		check.Result, check.Found = inspect.Fail, fmt.Sprintf("without topology key %s, which other nodes have: %s", topologyKey, some(plain))
		check.Fix = "give strata-node --topology on every node"
	case len(label) > 0:
		check.Result, check.Found = inspect.Fail, fmt.Sprintf("no label %s on %s", topologyKey, some(label))
		check.Fix = "restart strata-node there: kubelet sets the label when the driver registers"
	}
	return []inspect.Check{check}
}

// startupTaint finds nodes that are kept from pods although they are up for long.
func (c Clients) startupTaint(f *facts) inspect.Check {
	check := inspect.Check{Name: "startup-taint"}
	if f.nodes.err != nil {
		return unseen(check, f.nodes.err)
	}
	var late, young []string
	for i := range f.nodes.is {
		n := &f.nodes.is[i]
		if !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == startupTaint }) {
			continue
		}
		if c.Now().Sub(n.CreationTimestamp.Time) < slowStart {
			young = append(young, n.Name)
		} else {
			late = append(late, n.Name)
		}
	}
	check.Result, check.Found = inspect.OK, "on no node"
	if len(young) > 0 {
		check.Result, check.Found = inspect.Warn, "still on new nodes: "+some(young)
		check.Fix = "wait: strata-node takes it off as soon as it serves there"
	}
	if len(late) > 0 {
		check.Result, check.Found = inspect.Fail, fmt.Sprintf("%s keeps pods from %s: strata-node doesn't serve there yet", startupTaint, some(late))
		check.Fix = fmt.Sprintf("kubectl -n %s get pods -o wide --field-selector spec.nodeName=%s; kubectl -n %s logs POD", c.Namespace, late[0], c.Namespace)
	}
	return check
}

const (
	reportLabel  = driverName + "/scratch-report"
	reportPrefix = "strata-scratch-"
	// reportAge is how old a report may be before the controller takes its node to have no room.
	reportAge = 5 * time.Minute
)

// scratchReport is what a node says of its room, in the fields that matter here (pkg/scratch/report).
type scratchReport struct {
	Node    string    `json:"node"`
	Time    time.Time `json:"time"`
	Classes map[string]struct {
		Available int64 `json:"available"`
		Largest   int64 `json:"largest"`
	} `json:"classes"`
}

// readReport finds the report in a ConfigMap.
func readReport(data map[string]string) (scratchReport, error) {
	for _, text := range data {
		var r scratchReport
		if err := json.Unmarshal([]byte(text), &r); err == nil && r.Node != "" {
			return r, nil
		}
	}
	return scratchReport{}, fmt.Errorf("it holds no report of a node")
}

// scratchReports checks what the nodes say of their room.
func (c Clients) scratchReports(f *facts) []inspect.Check {
	check := inspect.Check{Name: "scratch-room"}
	if f.reports.err != nil {
		return []inspect.Check{unseen(check, f.reports.err)}
	}
	if len(f.reports.is) == 0 {
		if !slices.ContainsFunc(f.classes.is, isScratch) {
			return nil
		}
		check.Result, check.Found = inspect.Warn, "no node reports its room: scratch claims are placed without knowing it"
		check.Fix = "strata-node reports with --scratch-config and --kubeconfig; look at its logs"
		return []inspect.Check{check}
	}
	var old, bad, full []string
	var free int64
	for i := range f.reports.is {
		m := &f.reports.is[i]
		r, err := readReport(m.Data)
		age := c.Now().Sub(r.Time)
		switch {
		case err != nil:
			bad = append(bad, fmt.Sprintf("ConfigMap %s: %v", m.Name, err))
			continue
		case age > reportAge || age < -reportAge:
			old = append(old, fmt.Sprintf("%s (%s)", r.Node, r.Time.UTC().Format(time.RFC3339)))
			continue
		}
		var most int64
		for _, class := range r.Classes {
			most = max(most, class.Available)
		}
		if most == 0 {
			full = append(full, r.Node)
		}
		free += most
	}
	check.Result, check.Found = inspect.OK, fmt.Sprintf("%s free on %s", inspect.Bytes(free), plural(len(f.reports.is)-len(old)-len(bad), "node"))
	switch {
	case len(old)+len(bad) > 0:
		var parts []string
		if len(old) > 0 {
			parts = append(parts, "no report in the last 5 minutes from "+some(old))
		}
		check.Result, check.Found = inspect.Fail, strings.Join(append(parts, bad...), "; ")
		check.Fix = fmt.Sprintf("kubectl -n %s logs the strata-node of that node; its clock must be right", c.Namespace)
	case len(full) > 0:
		check.Result, check.Found = inspect.Warn, fmt.Sprintf("no room on %s; %s", some(full), check.Found)
		check.Fix = "delete scratch claims, or add disks"
	}
	return []inspect.Check{check}
}
