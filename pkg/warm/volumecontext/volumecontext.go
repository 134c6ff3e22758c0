// Package volumecontext is what the warm tier's controller writes into a volume's context and its node
// reads there: where the volume is and how to mount it. It holds no secret. A context comes back
// through the orchestrator, where an administrator can also write one by hand (a PersistentVolume made by
// hand), so it is checked against the volume's id before it is used.
package volumecontext

import (
	"fmt"
	"path"
	"strings"

	"github.com/strata-csi/strata/pkg/volume"
)

// The keys of a warm volume's context. Other keys, such as those an orchestrator adds, are ignored.
const (
	KeyTier               = "tier"               // "warm"
	KeyClusterID          = "clusterID"          // the cluster's id in the driver's cluster configuration
	KeyFSName             = "fsName"             // the CephFS file system
	KeyPath               = "path"               // the volume's absolute path in the file system, below /volumes/
	KeyMounter            = "mounter"            // auto, kernel or fuse; auto when absent
	KeyFuseMountOptions   = "fuseMountOptions"   // comma list for ceph-fuse
	KeyKernelMountOptions = "kernelMountOptions" // comma list for the kernel client
	KeyReadOnly           = "readOnly"           // "true": the volume is a snapshot and nobody can write
)

// Mounter is a way to mount CephFS.
type Mounter string

// The mounters.
const (
	Auto   Mounter = "auto"   // the kernel's client where the node has it, else ceph-fuse
	Kernel Mounter = "kernel" // the kernel's client
	Fuse   Mounter = "fuse"   // ceph-fuse
)

// ParseMounter returns the mounter named s, Auto for "". The error wraps volume.ErrInvalid and lists what is allowed.
func ParseMounter(s string) (Mounter, error) {
	switch m := Mounter(s); m {
	case "":
		return Auto, nil
	case Auto, Kernel, Fuse:
		return m, nil
	}
	return "", fmt.Errorf("%w: %s %q is not one of %s, %s, %s", volume.ErrInvalid, KeyMounter, s, Auto, Kernel, Fuse)
}

// ReadOnlyPart is the last part of the id of a snapshot-backed volume. In a warm id it follows the cluster id,
// the file system, the subvolume group and the volume's name; the id of a writable volume ends with the name.
const ReadOnlyPart = "ro"

// Context is a warm volume's context.
type Context struct {
	ClusterID     string
	FSName        string
	Path          string
	Mounter       Mounter
	FuseOptions   []string
	KernelOptions []string
	ReadOnly      bool
}

// Snapshot says where the data of a snapshot-backed volume is: the base directory of the subvolume, which a client can
// mount, and the path of the data below that mount. A path through .snap can't be mounted: the metadata server doesn't
// know that name. The base and not the data directory of the live subvolume, because that is gone when the subvolume was deleted.
type Snapshot struct {
	Base string // /volumes/GROUP/SUBVOLUME
	Name string
	Data string // .snap/NAME/UUID
}

// Map returns the context as the controller hands it out. Keys that have their default are left out.
func (c Context) Map() map[string]string {
	m := map[string]string{
		KeyTier:      string(volume.Warm),
		KeyClusterID: c.ClusterID,
		KeyFSName:    c.FSName,
		KeyPath:      c.Path,
	}
	if c.Mounter != "" {
		m[KeyMounter] = string(c.Mounter)
	}
	if len(c.FuseOptions) > 0 {
		m[KeyFuseMountOptions] = strings.Join(c.FuseOptions, ",")
	}
	if len(c.KernelOptions) > 0 {
		m[KeyKernelMountOptions] = strings.Join(c.KernelOptions, ",")
	}
	if c.ReadOnly {
		m[KeyReadOnly] = "true"
	}
	return m
}

// Parse reads the context of volume id, a parsed id, and refuses one that contradicts the id or leads outside the
// place the id names: a volume can't be made to show another one's data by editing its context. The error wraps
// volume.ErrInvalid and names the key.
func Parse(id volume.ID, m map[string]string) (Context, error) {
	n, err := parseName(id)
	if err != nil {
		return Context{}, err
	}
	if t, ok := m[KeyTier]; ok && t != string(volume.Warm) {
		return Context{}, bad(id, KeyTier, t, "the id is of tier %s", volume.Warm)
	}
	c := Context{ClusterID: m[KeyClusterID], FSName: m[KeyFSName], Path: m[KeyPath]}
	if c.ClusterID != n.cluster {
		return Context{}, bad(id, KeyClusterID, c.ClusterID, "the id says %q", n.cluster)
	}
	if c.FSName != n.fs {
		return Context{}, bad(id, KeyFSName, c.FSName, "the id says %q", n.fs)
	}
	switch m[KeyReadOnly] {
	case "", "false":
	case "true":
		c.ReadOnly = true
	default:
		return Context{}, bad(id, KeyReadOnly, m[KeyReadOnly], "want true or false")
	}
	if c.ReadOnly != n.readOnly {
		return Context{}, bad(id, KeyReadOnly, m[KeyReadOnly], "an id that ends with %q, and only such a one, is of a read-only volume", ":"+ReadOnlyPart)
	}
	if err := n.checkPath(c.Path); err != nil {
		return Context{}, bad(id, KeyPath, c.Path, "%v", err)
	}
	if c.Mounter, err = ParseMounter(m[KeyMounter]); err != nil {
		return Context{}, fmt.Errorf("volume context of %s: %w", id, err)
	}
	if c.FuseOptions, err = SplitOptions(m[KeyFuseMountOptions]); err != nil {
		return Context{}, bad(id, KeyFuseMountOptions, m[KeyFuseMountOptions], "%v", err)
	}
	if c.KernelOptions, err = SplitOptions(m[KeyKernelMountOptions]); err != nil {
		return Context{}, bad(id, KeyKernelMountOptions, m[KeyKernelMountOptions], "%v", err)
	}
	return c, nil
}

// Snapshot returns where a parsed read-only context's data is, and false for a writable volume.
func (c Context) Snapshot() (Snapshot, bool) {
	if !c.ReadOnly {
		return Snapshot{}, false
	}
	p := strings.Split(c.Path, "/") // "", volumes, GROUP, SUBVOLUME, .snap, SNAPSHOT, UUID
	return Snapshot{Base: path.Join("/", p[1], p[2], p[3]), Name: p[5], Data: path.Join(p[4], p[5], p[6])}, true
}

// SplitOptions splits a comma list of mount options. Spaces around an option are dropped; an empty one is an error.
func SplitOptions(list string) ([]string, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var options []string
	for o := range strings.SplitSeq(list, ",") {
		o = strings.TrimSpace(o)
		if o == "" {
			return nil, fmt.Errorf("%w: an empty option between commas", volume.ErrInvalid)
		}
		options = append(options, o)
	}
	return options, nil
}

func bad(id volume.ID, key, value, why string, args ...any) error {
	return fmt.Errorf("%w: volume context of %s: %s %q: %s", volume.ErrInvalid, id, key, value, fmt.Sprintf(why, args...))
}

// name is a warm id taken apart.
type name struct {
	cluster, fs, group, volume string
	readOnly                   bool
}

func parseName(id volume.ID) (name, error) {
	p := id.Parts()
	if id.Tier() != volume.Warm || len(p) != 4 && len(p) != 5 || len(p) == 5 && p[4] != ReadOnlyPart {
		return name{}, fmt.Errorf("%w: %q is not %s:CLUSTER:FS:GROUP:NAME, with or without :%s at its end", volume.ErrInvalid, id, volume.Warm, ReadOnlyPart)
	}
	return name{cluster: p[0], fs: p[1], group: p[2], volume: p[3], readOnly: len(p) == 5}, nil
}

// checkPath wants /volumes/GROUP/NAME/UUID of the id's own group and name, or, of a read-only volume,
// /volumes/GROUP/SUBVOLUME/.snap/SNAPSHOT/UUID in the id's own group. The UUID is of Ceph's choice.
func (n name) checkPath(p string) error {
	want := []string{"", "volumes", n.group, n.volume, "UUID"}
	if n.readOnly {
		want = []string{"", "volumes", n.group, "SUBVOLUME", ".snap", "SNAPSHOT", "UUID"}
	}
	got := strings.Split(p, "/")
	if len(got) != len(want) {
		return fmt.Errorf("want %s", strings.Join(want, "/"))
	}
	for i, w := range want {
		switch {
		case w == "UUID" || w == "SUBVOLUME" || w == "SNAPSHOT":
			if err := volume.CheckPart(got[i]); err != nil || got[i] == ".snap" {
				return fmt.Errorf("want %s; %q can't be %s", strings.Join(want, "/"), got[i], w)
			}
		case got[i] != w:
			return fmt.Errorf("want %s", strings.Join(want, "/"))
		}
	}
	return nil
}
