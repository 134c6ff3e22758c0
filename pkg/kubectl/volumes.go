package kubectl

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/volume"
)

// VolumeList is every volume that a PersistentVolume or a running pod has.
type VolumeList struct {
	Header
	Volumes []Volume         `json:"volumes"`
	Without int              `json:"withoutPersistentVolume"` // volumes in the clusters that no PersistentVolume has: see orphans
	Missed  []inspect.Missed `json:"missed"`                  // clusters and file systems that couldn't be looked at
}

// Volume is one volume. Numbers that aren't known are null: of a scratch volume only its node knows what is used.
type Volume struct {
	ID         string              `json:"id"`
	Tier       string              `json:"tier"`
	Kind       string              `json:"kind"` // persistent, or inline: in a pod's own specification
	PV         string              `json:"pv,omitempty"`
	Namespace  string              `json:"namespace,omitempty"`
	PVC        string              `json:"pvc,omitempty"`
	Pod        string              `json:"pod,omitempty"` // of an inline volume
	Team       string              `json:"team,omitempty"`
	Class      string              `json:"class,omitempty"` // StorageClass; of an inline volume the class of the node's configuration
	Phase      string              `json:"phase"`           // of the PersistentVolume or the pod
	Size       int64               `json:"size"`            // bytes
	Used       *int64              `json:"used"`            // bytes
	Files      *int64              `json:"files"`
	Modes      []string            `json:"modes"` // access modes: RWO, ROX, RWX, RWOP
	Block      bool                `json:"block"`
	State      string              `json:"state"` // ready, copying, gone, ..., or unknown
	Health     []inspect.Condition `json:"health"`
	Nodes      []string            `json:"nodes"` // where pods use it
	Cluster    string              `json:"cluster,omitempty"`
	FileSystem string              `json:"fileSystem,omitempty"`
	Pool       string              `json:"pool,omitempty"`
	Source     string              `json:"source,omitempty"`
}

const (
	stateGone    = "gone"    // the cluster has no such volume
	stateUnknown = "unknown" // it couldn't be looked at
	stateNode    = "local"   // on its node, which alone knows more
)

// Volumes lists the volumes. When the controller can't be asked, the list is there without what it knows, and the error says why.
func Volumes(ctx context.Context, c Clients) (VolumeList, error) {
	out, _, err := c.volumes(ctx)
	return out, err
}

func (c Clients) volumes(ctx context.Context) (VolumeList, stored, error) {
	out := VolumeList{Header: c.header("VolumeList"), Volumes: []Volume{}, Missed: []inspect.Missed{}}
	// The clusters first: a volume that is made meanwhile is missed, and none is taken to be gone that has just come.
	s, backendErr := c.stored(ctx, "volumes")
	if s.Missed != nil {
		out.Missed = s.Missed
	}
	pvs, err := c.persistentVolumes(ctx)
	if err != nil {
		return out, s, err
	}
	pods, err := c.pods(ctx)
	if err != nil {
		return out, s, err
	}
	nodes := users(pods)
	named := map[string]bool{}
	for i := range pvs {
		named[pvs[i].Spec.CSI.VolumeHandle] = true
		out.Volumes = append(out.Volumes, c.row(&pvs[i], s, nodes, backendErr == nil))
	}
	for i := range pods {
		out.Volumes = append(out.Volumes, inlineRows(&pods[i])...)
	}
	for _, v := range s.Volumes {
		if !named[v.ID] {
			out.Without++
		}
	}
	slices.SortFunc(out.Volumes, func(a, b Volume) int {
		key := func(v Volume) string { return strings.Join([]string{v.Namespace, v.PVC + v.Pod, v.PV, v.ID}, "\x00") }
		return strings.Compare(key(a), key(b))
	})
	return out, s, backendErr
}

// row puts together a PersistentVolume and what its cluster holds.
func (c Clients) row(pv *corev1.PersistentVolume, s stored, nodes map[string][]string, asked bool) Volume {
	id := pv.Spec.CSI.VolumeHandle
	v := Volume{ID: id, Kind: "persistent", PV: pv.Name, Class: pv.Spec.StorageClassName, Phase: string(pv.Status.Phase), Size: pv.Spec.Capacity.Storage().Value(),
		Modes: modes(pv.Spec.AccessModes), Block: pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock,
		State: stateUnknown, Health: []inspect.Condition{}, Nodes: []string{}}
	v.Tier, _, _ = strings.Cut(id, ":")
	v.Team = teamOf(id)
	if r := pv.Spec.ClaimRef; r != nil {
		v.Namespace, v.PVC = r.Namespace, r.Name
		if n := nodes[r.Namespace+"/"+r.Name]; n != nil && pv.Status.Phase == corev1.VolumeBound {
			v.Nodes = n
		}
	}
	switch b, there := s.byID[id]; {
	case there:
		v.Team, v.Used, v.Files, v.State, v.Health = b.Team, b.Used, b.Files, string(b.State), b.Health
		v.Cluster, v.FileSystem, v.Pool, v.Source = b.Cluster, b.FileSystem, b.Pool, b.Source
		if b.Size > 0 {
			v.Size = b.Size
		}
	case v.Tier == string(volume.Scratch):
		v.State = stateNode
	case asked && s.sees(id) && c.Now().Sub(pv.CreationTimestamp.Time) > patience: // else it may have come after the look
		v.State = stateGone
	}
	return v
}

// teamOf is the team in the id of a warm volume: warm:CLUSTER:FS:PREFIX.TEAM:NAME.
func teamOf(id string) string {
	parts := strings.Split(id, ":")
	if len(parts) < 5 || parts[0] != string(volume.Warm) {
		return ""
	}
	_, team, _ := strings.Cut(parts[3], ".")
	return team
}

var shortModes = map[corev1.PersistentVolumeAccessMode]string{corev1.ReadWriteOnce: "RWO", corev1.ReadOnlyMany: "ROX", corev1.ReadWriteMany: "RWX", corev1.ReadWriteOncePod: "RWOP"}

func modes(list []corev1.PersistentVolumeAccessMode) []string {
	out := []string{}
	for _, m := range list {
		out = append(out, shortModes[m])
	}
	return out
}

// inlineRows are the volumes in a pod's own specification. Their size is what is asked for; without that it is the class's default,
// which the node knows.
func inlineRows(p *corev1.Pod) (rows []Volume) {
	for _, spec := range p.Spec.Volumes {
		if spec.CSI == nil || spec.CSI.Driver != driverName {
			continue
		}
		v := Volume{Tier: string(volume.Scratch), Kind: "inline", Namespace: p.Namespace, Pod: p.Name, Class: spec.CSI.VolumeAttributes["class"],
			Phase: string(p.Status.Phase), Modes: []string{}, State: stateNode, Health: []inspect.Condition{}, Nodes: []string{}}
		if v.Class == "" {
			v.Class = "default"
		}
		if q, err := resource.ParseQuantity(spec.CSI.VolumeAttributes["size"]); err == nil {
			v.Size = q.Value()
		}
		if p.Spec.NodeName != "" {
			v.Nodes = []string{p.Spec.NodeName}
		}
		rows = append(rows, v)
	}
	return rows
}

// condition is the health of a volume in one word or a few.
func (v Volume) condition() string {
	switch v.State {
	case string(inspect.Ready), string(inspect.Copying):
		var reasons []string
		for _, h := range v.Health {
			reasons = append(reasons, h.Reason)
		}
		if len(reasons) == 0 {
			return "ok"
		}
		return strings.Join(reasons, ",")
	case stateNode:
		return ""
	}
	return strings.ToUpper(v.State[:1]) + v.State[1:]
}

func bytesOrNone(n *int64) string {
	if n == nil {
		return ""
	}
	return inspect.Bytes(*n)
}

func (l VolumeList) print(w io.Writer, wide bool) error {
	head := []string{"NAMESPACE", "CLAIM", "TIER", "TEAM", "SIZE", "USED", "MODE", "PHASE", "HEALTH", "NODES"}
	if wide {
		head = append(head, "CLASS", "PV", "POOL", "FILES", "ID")
	}
	rows := [][]string{head}
	for _, v := range l.Volumes {
		claim := v.PVC
		if v.Kind == "inline" {
			claim = "(pod " + v.Pod + ")"
		}
		mode := strings.Join(v.Modes, ",")
		if v.Block {
			mode += " block"
		}
		size := ""
		if v.Size > 0 {
			size = inspect.Bytes(v.Size)
		}
		nodes := some(v.Nodes)
		if wide {
			nodes = strings.Join(v.Nodes, ",")
		}
		row := []string{v.Namespace, claim, v.Tier, v.Team, size, bytesOrNone(v.Used), mode, v.Phase, v.condition(), nodes}
		if wide {
			files := ""
			if v.Files != nil {
				files = fmt.Sprint(*v.Files)
			}
			row = append(row, v.Class, v.PV, v.Pool, files, v.ID)
		}
		rows = append(rows, row)
	}
	if len(l.Volumes) == 0 {
		_, err := fmt.Fprintln(w, "There is no volume.")
		return err
	}
	return table(w, rows)
}
