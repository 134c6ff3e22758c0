package kube

import (
	"context"
	"fmt"
	"maps"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// ReportLabel marks the ConfigMaps that hold what a node reports of its scratch room; its value is "true".
	ReportLabel  = "csi.strata.dev/scratch-report"
	reportKey    = "report.json"
	reportPrefix = "strata-scratch-"
	configMaps   = "configmaps"
)

// ReportName is the name of a node's ConfigMap.
func ReportName(node string) string { return reportPrefix + node }

// Reports are the ConfigMaps of the driver's namespace in which nodes report their room for scratch volumes.
type Reports struct {
	client    *Client
	namespace string
}

// NewReports returns those of a namespace.
func NewReports(client *Client, namespace string) *Reports {
	return &Reports{client: client, namespace: namespace}
}

// List returns what the nodes report, by the name of the ConfigMap. It may be some seconds old: the API server answers from its memory
// (resourceVersion 0). A report has its own time.
func (r *Reports) List(ctx context.Context) (map[string][]byte, error) {
	var list v1.ConfigMapList
	options := metav1.ListOptions{LabelSelector: ReportLabel + "=true", ResourceVersion: "0"}
	if err := r.client.list(ctx, configMaps, r.namespace, options, &list); err != nil {
		return nil, fmt.Errorf("list the ConfigMaps with label %s: %w", ReportLabel, err)
	}
	reports := map[string][]byte{}
	for i := range list.Items {
		reports[list.Items[i].Name] = []byte(list.Items[i].Data[reportKey])
	}
	return reports, nil
}

// NodeReport is the ConfigMap of one node. It isn't for several goroutines at once.
type NodeReport struct {
	reports *Reports
	node    *Node
	last    *v1.ConfigMap // as the API server answered last; nil: not known
}

// Of returns the ConfigMap of a node, which vanishes with the Node.
func (r *Reports) Of(node *Node) *NodeReport { return &NodeReport{reports: r, node: node} }

// Write replaces the report, with one request where nobody else changed it.
func (n *NodeReport) Write(ctx context.Context, report []byte) error {
	name := ReportName(n.node.name)
	err := n.write(ctx, name, report)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
		n.last = nil
		err = n.write(ctx, name, report)
	}
	if err != nil {
		n.last = nil
		return fmt.Errorf("write ConfigMap %s: %w", name, err)
	}
	return nil
}

func (n *NodeReport) write(ctx context.Context, name string, report []byte) error {
	if n.last == nil {
		now := new(v1.ConfigMap)
		err := n.reports.client.get(ctx, configMaps, n.reports.namespace, name, now)
		if apierrors.IsNotFound(err) {
			return n.create(ctx, name, report)
		}
		if err != nil {
			return err
		}
		n.last = now
	}
	next := n.last.DeepCopy()
	next.Data = map[string]string{reportKey: string(report)}
	if next.Labels[ReportLabel] != "true" {
		next.Labels = maps.Clone(next.Labels)
		if next.Labels == nil {
			next.Labels = map[string]string{}
		}
		next.Labels[ReportLabel] = "true"
	}
	written := new(v1.ConfigMap)
	if err := n.reports.client.update(ctx, configMaps, n.reports.namespace, name, next, written); err != nil {
		return err
	}
	n.last = written
	return nil
}

func (n *NodeReport) create(ctx context.Context, name string, report []byte) error {
	owner, err := n.node.Owner(ctx)
	if err != nil {
		return err
	}
	made := new(v1.ConfigMap)
	err = n.reports.client.create(ctx, configMaps, n.reports.namespace, &v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{ReportLabel: "true", "app.kubernetes.io/managed-by": "strata-node"}, OwnerReferences: []metav1.OwnerReference{owner},
		},
		Data: map[string]string{reportKey: string(report)},
	}, made)
	if err != nil {
		return err
	}
	n.last = made
	return nil
}
