package kubectl

// What one side has and the other doesn't know. Each finding comes with the commands that would remove it; what holds no data,
// identities and their Secrets, can also be removed from here (orphanidentities.go).

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	volumesnapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/strata-csi/strata/pkg/inspect"
)

// OrphanList is what nobody seems to want any more.
type OrphanList struct {
	Header
	Grace   string           `json:"grace"` // what changed later than that before Time isn't listed
	Orphans []Orphan         `json:"orphans"`
	Young   int              `json:"young"`  // what isn't listed for that reason
	Missed  []inspect.Missed `json:"missed"` // where orphans may be that couldn't be seen
	Notes   []string         `json:"notes"`  // what else couldn't be looked at
}

// The kinds of orphans.
const (
	OrphanVolume   = "volume"          // in a cluster, and no PersistentVolume has it
	OrphanSnapshot = "snapshot"        // in a cluster, and no VolumeSnapshotContent has it
	OrphanPV       = "pv"              // a PersistentVolume whose volume isn't there
	OrphanContent  = "snapshotcontent" // a VolumeSnapshotContent whose snapshot isn't there
	OrphanReport   = "scratch-report"  // the report of a node that isn't there
	OrphanIdentity = "identity"        // a Ceph user that was made for a volume that isn't there
	OrphanSecret   = "secret"          // the Secret with the key of such, without the user
)

// Orphan is one of them.
type Orphan struct {
	Kind    string     `json:"kind"`
	Name    string     `json:"name"` // the id, or the name of the object
	Cluster string     `json:"cluster,omitempty"`
	State   string     `json:"state,omitempty"`
	Volume  string     `json:"volume,omitempty"` // of an identity or a secret: the id of what it was made for
	Owner   string     `json:"owner,omitempty"`  // NAMESPACE/CLAIM that it was made for, as far as is known
	Size    int64      `json:"size"`             // bytes
	Used    *int64     `json:"used"`             // bytes; null where it isn't known
	Since   *time.Time `json:"since"`            // of the newest change; null where it isn't known
	Why     string     `json:"why"`
	// Remove are the commands that remove it, in order. MOUNT stands for a mount of the file system's root. None: it mustn't be
	// removed now, or not by hand; Why says so.
	Remove []string `json:"remove"`
	// Removed: this command removed it.
	Removed bool `json:"removed,omitempty"`

	uid types.UID
}

// Orphans compares. The objects of Kubernetes are read before and after the clusters, so that what is made or removed meanwhile is on
// neither list; what changed within grace is left out too.
func Orphans(ctx context.Context, c Clients, grace time.Duration) (OrphanList, error) {
	out := OrphanList{Header: c.header("OrphanList"), Grace: grace.String(), Orphans: []Orphan{}, Missed: []inspect.Missed{}, Notes: []string{}}
	before, err := c.known(ctx)
	if err != nil {
		return out, err
	}
	secrets, noSecrets := c.identitySecrets(ctx)
	s, err := c.stored(ctx, "orphans")
	if err != nil {
		return out, err
	}
	after, err := c.known(ctx)
	if err != nil {
		return out, err
	}
	if s.Missed != nil {
		out.Missed = s.Missed
	}
	old := func(at *time.Time) bool {
		if at == nil || c.Now().Sub(*at) >= grace {
			return true
		}
		out.Young++
		return false
	}
	add := func(o Orphan) {
		if old(o.Since) {
			out.Orphans = append(out.Orphans, o)
		}
	}
	held := map[string]bool{} // subvolumes that keep a snapshot, or serve a copy, that somebody has
	handles := map[string]bool{}
	if before.noSnapshots || after.noSnapshots {
		out.Notes = append(out.Notes, "the API serves no VolumeSnapshotContents: snapshots aren't compared")
	} else {
		for i := range s.Snapshots {
			snap := &s.Snapshots[i]
			wanted := snap.State == inspect.Temporary || snap.ID != "" && (before.contents[snap.ID] || after.contents[snap.ID]) || len(usedReaders(snap, s, before, after)) > 0
			if wanted {
				held[subvolume(snap.Cluster, snap.FileSystem, snap.Group, snap.Volume)] = true
			} else {
				add(snapshotOrphan(snap))
			}
			if snap.ID != "" && snap.State != inspect.Lost {
				handles[snap.ID] = true
			}
		}
	}
	for i := range s.Volumes {
		v := &s.Volumes[i]
		if v.ID != "" && (before.handles[v.ID] || after.handles[v.ID]) {
			continue
		}
		if v.State == inspect.Retained && (held[subvolume(v.Cluster, v.FileSystem, v.Group, v.Name)] || before.noSnapshots || after.noSnapshots) {
			continue // the driver's own way to keep a snapshot of a volume that was deleted
		}
		add(volumeOrphan(v, held[subvolume(v.Cluster, v.FileSystem, v.Group, v.Name)], s))
	}
	for i := range after.volumes {
		pv := &after.volumes[i]
		id := pv.Spec.CSI.VolumeHandle
		if _, there := s.byID[id]; there || !before.handles[id] || !s.sees(id) || s.byID[id] != nil {
			continue
		}
		add(pvOrphan(pv))
	}
	for i := range after.snapshots {
		content := &after.snapshots[i]
		if id := handleOf(content); id != "" && before.contents[id] && s.sees(id) && !handles[id] {
			add(contentOrphan(content))
		}
	}
	for _, o := range c.identityOrphans(s) {
		add(o)
	}
	now, err := c.identitySecrets(ctx)
	switch err = cmp.Or(noSecrets, err); {
	case apierrors.IsForbidden(err) && len(s.Identities) == 0: // no volume has an identity, and who may not list Secrets misses none
	case err != nil:
		out.Notes = append(out.Notes, "Secrets of volumes aren't compared: "+err.Error())
	default:
		for _, o := range c.secretOrphans(s, secrets, now) {
			add(o)
		}
	}
	reports, err := c.reportOrphans(ctx)
	if err != nil {
		out.Notes = append(out.Notes, "scratch reports aren't compared: "+err.Error())
	}
	for _, o := range reports {
		add(o)
	}
	slices.SortFunc(out.Orphans, func(a, b Orphan) int { return strings.Compare(a.Kind+"\x00"+a.Name, b.Kind+"\x00"+b.Name) })
	return out, nil
}

func subvolume(cluster, fs, group, name string) string {
	return strings.Join([]string{cluster, fs, group, name}, ":")
}

// known is what Kubernetes has at one moment.
type known struct {
	volumes     []corev1.PersistentVolume
	handles     map[string]bool
	snapshots   []volumesnapshotv1.VolumeSnapshotContent
	contents    map[string]bool
	noSnapshots bool // the API doesn't know them
}

func (c Clients) known(ctx context.Context) (k known, err error) {
	k.handles, k.contents = map[string]bool{}, map[string]bool{}
	if k.volumes, err = c.persistentVolumes(ctx); err != nil {
		return k, err
	}
	for i := range k.volumes {
		k.handles[k.volumes[i].Spec.CSI.VolumeHandle] = true
	}
	k.snapshots, err = c.snapshotContents(ctx)
	if apierrors.IsNotFound(err) {
		k.noSnapshots = true
		return k, nil
	}
	for i := range k.snapshots {
		if id := handleOf(&k.snapshots[i]); id != "" {
			k.contents[id] = true
		}
	}
	return k, err
}

// handleOf is the id of a content's snapshot; "" until it has one.
func handleOf(c *volumesnapshotv1.VolumeSnapshotContent) string {
	if c.Status != nil && c.Status.SnapshotHandle != nil {
		return *c.Status.SnapshotHandle
	}
	if c.Spec.Source.SnapshotHandle != nil {
		return *c.Spec.Source.SnapshotHandle
	}
	return ""
}

// usedReaders are the volumes served from a snapshot that a PersistentVolume has.
func usedReaders(snap *inspect.Snapshot, s stored, before, after known) (used []string) {
	for i := range s.Volumes {
		v := &s.Volumes[i]
		if v.ReadOnly && v.Cluster == snap.Cluster && v.FileSystem == snap.FileSystem && slices.Contains(snap.Readers, v.Name) &&
			(before.handles[v.ID] || after.handles[v.ID]) {
			used = append(used, v.Name)
		}
	}
	return used
}

func volumeOrphan(v *inspect.Volume, held bool, s stored) Orphan {
	o := Orphan{Kind: OrphanVolume, Name: v.ID, Cluster: v.Cluster, State: string(v.State), Size: v.Size, Used: v.Used, Since: v.Changed, Remove: []string{}}
	if o.Name == "" {
		o.Name = subvolume(v.Cluster, v.FileSystem, v.Group, v.Name)
	}
	if v.PVC != "" {
		o.Owner = v.Namespace + "/" + v.PVC
	}
	rm := fmt.Sprintf("ceph fs subvolume rm %s %s --group_name %s", v.FileSystem, v.Name, v.Group)
	switch {
	case v.ReadOnly:
		o.Why = "no PersistentVolume has it; it is served from a snapshot and has no data of its own"
		index := "MOUNT/strata/" + s.prefix[v.Cluster+"/"+v.FileSystem]
		if name := snapshotOf(v.Source); name != "" {
			o.Remove = append(o.Remove, fmt.Sprintf("rmdir %s/snapshots/%s/%s", index, name, v.Name))
		}
		o.Remove = append(o.Remove, fmt.Sprintf("rmdir %s/volumes/%s/%s", index, v.Group, v.Name))
	case v.Queued:
		o.Why = "no PersistentVolume has it; Ceph still copies into it, or would: look again when that has ended"
	case v.State == inspect.Retained:
		o.Why = "it was deleted, and keeps snapshots that no VolumeSnapshotContent has: remove those, and it goes with the last"
	case v.State == inspect.Unreadable:
		o.Why = "no PersistentVolume has it, and its record can't be read: " + v.Problem
		o.Remove = []string{rm}
	default:
		o.Why = "no PersistentVolume has it"
		if v.State == inspect.Unfinished {
			o.Why += "; the request that made it never ended"
		} else if v.PV != "" {
			o.Why += fmt.Sprintf("; it was made for %s, whose reclaim policy may have been Retain", v.PV)
		}
		o.Remove = []string{rm}
		if held { // of the deletion the snapshots are what stays
			o.Why += "; its snapshots are wanted and stay"
			o.Remove = []string{rm + " --retain-snapshots"}
		} else if v.Snapshots > 0 {
			o.Why += "; remove its snapshots first"
		}
	}
	return o
}

// snapshotOf is the name of a snapshot in its id.
func snapshotOf(id string) string {
	if parts := strings.Split(id, ":"); len(parts) == 6 {
		return parts[5]
	}
	return ""
}

func snapshotOrphan(snap *inspect.Snapshot) Orphan {
	o := Orphan{Kind: OrphanSnapshot, Name: snap.ID, Cluster: snap.Cluster, State: string(snap.State), Size: snap.Size, Since: snap.Created, Remove: []string{}}
	if o.Name == "" {
		o.Name = strings.Join([]string{snap.Cluster, snap.FileSystem, snap.Group, snap.Volume, snap.Name}, ":")
	}
	prefix, _, _ := strings.Cut(snap.Group, ".")
	dir := fmt.Sprintf("rmdir MOUNT/strata/%s/snapshots/%s", prefix, snap.Name)
	rm := fmt.Sprintf("ceph fs subvolume snapshot rm %s %s %s --group_name %s", snap.FileSystem, snap.Volume, snap.Name, snap.Group)
	switch snap.State {
	case inspect.Unrecorded:
		o.Why = "Ceph has it, and the driver has no record of it: it was taken by hand or by another tool, or its deletion was interrupted"
		o.Remove = []string{rm}
	case inspect.Lost:
		o.Why = "the driver has a record of it, and Ceph doesn't have it"
		o.Remove = []string{dir}
	case inspect.Unfinished, inspect.Unreadable:
		o.Why = "no VolumeSnapshotContent has it; the request that made it never ended"
		if snap.State == inspect.Unreadable {
			o.Why = "no VolumeSnapshotContent has it, and its record can't be read: " + snap.Problem
		}
		if snap.Volume != "" {
			o.Remove = append(o.Remove, rm+" --force")
		}
		if snap.Group != "" {
			o.Remove = append(o.Remove, dir)
		}
	default:
		o.Why = "no VolumeSnapshotContent has it; its deletion policy may have been Retain"
		o.Remove = []string{dir, rm}
	}
	if len(snap.Readers) > 0 {
		o.Why += "; volumes are served from it that go first: " + some(snap.Readers)
	}
	return o
}

func pvOrphan(pv *corev1.PersistentVolume) Orphan {
	o := Orphan{Kind: OrphanPV, Name: pv.Name, State: string(pv.Status.Phase), Size: pv.Spec.Capacity.Storage().Value(), Since: &pv.CreationTimestamp.Time,
		Why: "its volume " + pv.Spec.CSI.VolumeHandle + " isn't there: pods that use it can't start, and what it held is gone", Remove: []string{}}
	if r := pv.Spec.ClaimRef; r != nil {
		o.Owner = r.Namespace + "/" + r.Name
		if pv.Status.Phase == corev1.VolumeBound {
			o.Remove = append(o.Remove, fmt.Sprintf("kubectl -n %s delete pvc %s", r.Namespace, r.Name))
		}
	}
	o.Remove = append(o.Remove, "kubectl delete pv "+pv.Name+" --ignore-not-found")
	return o
}

func contentOrphan(c *volumesnapshotv1.VolumeSnapshotContent) Orphan {
	o := Orphan{Kind: OrphanContent, Name: c.Name, Since: &c.CreationTimestamp.Time, Why: "its snapshot " + handleOf(c) + " isn't there", Remove: []string{}}
	if r := c.Spec.VolumeSnapshotRef; r.Name != "" {
		o.Owner = r.Namespace + "/" + r.Name
		o.Remove = append(o.Remove, fmt.Sprintf("kubectl -n %s delete volumesnapshot %s", r.Namespace, r.Name))
	}
	o.Remove = append(o.Remove, "kubectl delete volumesnapshotcontent "+c.Name+" --ignore-not-found")
	return o
}

// reportOrphans are the reports of nodes that aren't there.
func (c Clients) reportOrphans(ctx context.Context) (out []Orphan, err error) {
	reports := c.reports(ctx)
	if reports.err != nil {
		return nil, reports.err
	}
	nodes, err := c.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, n := range nodes.Items {
		there[n.Name] = true
	}
	for i := range reports.is {
		m := &reports.is[i]
		node := strings.TrimPrefix(m.Name, reportPrefix)
		since := m.CreationTimestamp.Time
		if r, err := readReport(m.Data); err == nil {
			node, since = r.Node, r.Time
		}
		if !there[node] {
			out = append(out, Orphan{Kind: OrphanReport, Name: m.Name, Since: &since, Why: "there is no node " + node,
				Remove: []string{fmt.Sprintf("kubectl -n %s delete configmap %s", c.Namespace, m.Name)}})
		}
	}
	return out, nil
}

func (l OrphanList) print(w io.Writer, now time.Time) error {
	for _, o := range l.Orphans {
		size := []string{}
		if o.Owner != "" {
			size = append(size, "of "+o.Owner)
		}
		if o.Used != nil {
			size = append(size, inspect.Bytes(*o.Used)+" used")
		} else if o.Size > 0 {
			size = append(size, inspect.Bytes(o.Size))
		}
		if o.Since != nil && !o.Since.IsZero() {
			size = append(size, "unchanged for "+age(now.Sub(*o.Since)))
		}
		if o.Removed {
			size = append(size, "removed")
		}
		head := o.Kind + " " + o.Name
		if len(size) > 0 {
			head += " (" + strings.Join(size, ", ") + ")"
		}
		if _, err := fmt.Fprintf(w, "%s\n  %s\n", oneLine(head), oneLine(o.Why)); err != nil {
			return err
		}
		for _, command := range o.Remove {
			if o.Removed {
				break
			}
			if _, err := fmt.Fprintf(w, "  $ %s\n", oneLine(command)); err != nil {
				return err
			}
		}
	}
	if len(l.Orphans) > 0 {
		removed := 0
		for _, o := range l.Orphans {
			if o.Removed {
				removed++
			}
		}
		did := "Nothing was removed."
		if removed > 0 {
			did = fmt.Sprintf("%d of them removed.", removed)
		}
		if _, err := fmt.Fprintf(w, "\n%s. %s MOUNT is a mount of the file system's root.\n", plural(len(l.Orphans), "orphan"), did); err != nil {
			return err
		}
		if n := l.removable(); n > 0 {
			if _, err := fmt.Fprintf(w, "%d of them hold no data, and --remove-identities removes them.\n", n); err != nil {
				return err
			}
		}
	} else if _, err := fmt.Fprintln(w, "There is no orphan."); err != nil {
		return err
	}
	if l.Young > 0 {
		_, err := fmt.Fprintf(w, "%d more changed within %s and may be in the making: see --grace.\n", l.Young, l.Grace)
		return err
	}
	return nil
}

// age writes a duration in its largest unit.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}
