// Package tier says what a backend is: small interfaces, each found once when the backend is
// registered. The CSI services in pkg/controller and pkg/node know only these; a backend never sees a
// CSI message. An operation that a backend has no interface for is refused with volume.ErrUnsupported.
package tier

import (
	"context"

	"github.com/strata-csi/strata/pkg/volume"
)

// Provisioner makes and removes volumes. Both calls may be repeated, by another process too, and end in the same state.
type Provisioner interface {
	// Create makes the volume or finds it. volume.ErrExists: the name belongs to a volume that doesn't fit spec.
	// volume.ErrPending: it is being made (a copy runs); the same call, later, gets it.
	Create(ctx context.Context, spec volume.Spec) (volume.Volume, error)
	// Delete removes the volume; one that doesn't exist is no error.
	Delete(ctx context.Context, id volume.ID) error
	// Get returns a volume that is ready, or volume.ErrNotFound.
	Get(ctx context.Context, id volume.ID) (volume.Volume, error)
	// CheckParameters refuses the parameters of a StorageClass that Create would refuse, without touching the backend.
	CheckParameters(parameters map[string]string) error
}

// SecretUser is a tier that has no credential of its own: each request brings one. What a request without secrets would need is refused.
type SecretUser interface {
	// WithSecrets returns the backend for one request; it has the interfaces of the one that is asked. The secrets are never logged and not kept.
	WithSecrets(secrets map[string]string) Provisioner
}

// AccessChecker says how the volumes of a tier can be used. A tier without it serves file systems in every access mode, and no
// raw block devices.
type AccessChecker interface {
	// CheckAccess refuses what Create would refuse, whatever the class. The error wraps volume.ErrInvalid and says what is offered.
	CheckAccess(access volume.Access) error
}

// Expander grows volumes.
type Expander interface {
	// Expand grows the volume to the least size that the range allows and returns its size. It never shrinks:
	// a larger volume stays as it is, or is volume.ErrOutOfRange when above the limit.
	// nodeNeeded: the node must do its part too (NodeExpandVolume).
	Expand(ctx context.Context, id volume.ID, size volume.CapacityRange) (capacity int64, nodeNeeded bool, err error)
}

// Snapshotter makes, removes and finds snapshots. Its tier makes new volumes of them, and of volumes (volume.Spec.Source); only a
// Snapshotter's Create is ever asked for a volume with a source.
type Snapshotter interface {
	CreateSnapshot(ctx context.Context, spec volume.SnapshotSpec) (volume.Snapshot, error)
	// DeleteSnapshot removes the snapshot; one that doesn't exist is no error. volume.ErrPrecondition: a volume is served from it.
	DeleteSnapshot(ctx context.Context, id volume.SnapshotID) error
	GetSnapshot(ctx context.Context, id volume.SnapshotID) (volume.Snapshot, error)
	// ListSnapshots returns at most max snapshots (0: all) after the token, in a stable order, and the token of the rest.
	// source, when not empty, keeps only the snapshots of that volume.
	ListSnapshots(ctx context.Context, source volume.ID, max int, token string) ([]volume.Snapshot, string, error)
}

// Lister lists volumes in a stable order.
type Lister interface {
	// ListVolumes returns at most max volumes (0: all) after the token, and the token of the rest ("" at the end).
	ListVolumes(ctx context.Context, max int, token string) ([]volume.Volume, string, error)
}

// CapacityReporter says how much a StorageClass can still hold.
type CapacityReporter interface {
	// Capacity returns what volumes of the class can still take within the segment of the topology; an empty one is the
	// whole cluster. A tier that every node reaches takes no notice of it.
	Capacity(ctx context.Context, parameters map[string]string, segment volume.Segment) (volume.Capacity, error)
}

// HealthReporter looks at a volume from the backend's side.
type HealthReporter interface {
	// Health returns what is wrong with the volume; nothing means it is well. volume.ErrNotFound: there is no such volume.
	Health(ctx context.Context, id volume.ID) ([]volume.Condition, error)
}

// StageSpec asks a node to make a volume ready below one directory of the node.
type StageSpec struct {
	ID      volume.ID
	Path    string // absolute, exists and is empty, or is our mount already
	Context map[string]string
	Secrets map[string]string // never logged, never kept
	Options []string          // mount options of the PersistentVolume
	// ReadOnly: nothing on this node may write.
	ReadOnly bool
	// Block asks for a raw block device; only a BlockStager is ever asked. Path stays an empty directory then.
	Block bool
	// Group is the id of the group that the volume's files shall belong to (CSI: volume_mount_group, Kubernetes: fsGroup); nil: none is asked for. A tier whose
	// files have owners that outlive the mount takes no notice.
	Group *uint32
}

// Stager is the node's side of a backend. Both calls may be repeated, also by a restarted process.
type Stager interface {
	// Stage mounts the volume at spec.Path, or finds it there. A mount that is dead is replaced.
	Stage(ctx context.Context, spec StageSpec) error
	// Unstage unmounts path; a path that isn't mounted is no error.
	Unstage(ctx context.Context, id volume.ID, path string) error
	// Staged checks, in bounded time, that path is this volume's live mount.
	// volume.ErrNotFound: nothing is mounted. volume.ErrUnavailable: a mount is there and dead. volume.ErrExists: it is another's.
	Staged(ctx context.Context, id volume.ID, path string) error
	// CheckContext refuses a volume context or mount option that Stage would refuse.
	CheckContext(id volume.ID, context map[string]string, options []string) error
}

// GroupChecker is a tier that gives a volume to a group for as long as it is mounted: all who have it on the node have it with that group.
type GroupChecker interface {
	// CheckGroup refuses a group that may do less with the volume staged at spec.Path than spec.Group would, had it been staged for it. The error wraps volume.ErrPrecondition.
	CheckGroup(spec StageSpec) error
}

// Renewer takes other secrets for a volume that is mounted already.
type Renewer interface {
	// Renew hands the secrets of a request to what serves the volume staged at path. It is called again and again, mostly with the same, and must cost nothing then. An error leaves the
	// volume as it is.
	Renew(ctx context.Context, id volume.ID, path string, secrets map[string]string) error
}

// NodeExpander grows volumes that are mounted.
type NodeExpander interface {
	// ExpandOnNode grows the volume staged or published at path ("" of one that is staged as a block device) and returns its
	// size in bytes. Without a required size it finishes what Expand began. It never shrinks; see Expander.
	ExpandOnNode(ctx context.Context, id volume.ID, path string, size volume.CapacityRange) (int64, error)
}

// BlockStager serves volumes as raw block devices. Stage with Block makes the device ready, Unstage takes it away.
type BlockStager interface {
	// BlockDevice returns the path of the device node, not of a symbolic link to it, of a volume that was staged as a block device, or
	// volume.ErrNotFound.
	BlockDevice(ctx context.Context, id volume.ID) (string, error)
}

// InlineSpec asks for a volume that is written into a pod's own specification (CSI: ephemeral volume).
type InlineSpec struct {
	ID         string            // kubelet's: "csi-" and a hash, not of our grammar
	Path       string            // absolute; the target directory, made by the caller when it didn't exist, or our mount already
	Attributes map[string]string // as the pod's author wrote them; kubelet's own, csi.storage.k8s.io/..., are not among them
	Pod        Pod
	FSType     string // of the volume capability; "" when the pod names none
	Options    []string
	ReadOnly   bool
	Group      *uint32 // as StageSpec.Group
}

// Pod is who an inline volume is for, as kubelet says with podInfoOnMount; a field is "" when kubelet gave none.
type Pod struct {
	Name, Namespace, UID string
}

// InlinePublisher serves inline volumes. Both calls may be repeated, also by a restarted process.
type InlinePublisher interface {
	// CheckInline refuses what PublishInline would refuse for what is asked alone, before anything is touched.
	CheckInline(spec InlineSpec) error
	// PublishInline makes the volume and mounts it at spec.Path, or finds it there.
	PublishInline(ctx context.Context, spec InlineSpec) error
	// UnpublishInline unmounts the volume from path and destroys it; one that doesn't exist is no error. What isn't the volume's
	// stays mounted.
	UnpublishInline(ctx context.Context, id, path string) error
	// PublishedInline is Stager.Staged for an inline volume.
	PublishedInline(ctx context.Context, id, path string) error
	// InlineUsage is UsageReporter.Usage, InlineHealth MountHealthReporter.MountHealth for an inline volume.
	InlineUsage(ctx context.Context, id, path string) (volume.Usage, error)
	InlineHealth(ctx context.Context, id, path string) ([]volume.Condition, error)
}

// SegmentReporter says where a node is, for tiers whose volumes can't be reached from everywhere.
type SegmentReporter interface {
	// Segment returns the keys and values that the node's NodeGetInfo gives as its accessible topology.
	Segment() volume.Segment
}

// UsageReporter measures a mounted volume.
type UsageReporter interface {
	// Usage measures the volume mounted at path, in bounded time even when the backend hangs.
	Usage(ctx context.Context, id volume.ID, path string) (volume.Usage, error)
}

// MountHealthReporter looks at a volume from one node.
type MountHealthReporter interface {
	// MountHealth looks at the volume staged or published at path ("" of one that is staged as a block device).
	MountHealth(ctx context.Context, id volume.ID, path string) ([]volume.Condition, error)
}
