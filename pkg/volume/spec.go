package volume

import (
	"fmt"
	"time"
)

// CapacityRange is what a caller will accept, in bytes; 0 means not given.
type CapacityRange struct {
	Required int64
	Limit    int64
}

// Check refuses negative sizes and a limit below what is required. The error wraps ErrInvalid or ErrOutOfRange.
func (c CapacityRange) Check() error {
	if c.Required < 0 || c.Limit < 0 {
		return fmt.Errorf("%w: required_bytes %d and limit_bytes %d can't be negative", ErrInvalid, c.Required, c.Limit)
	}
	if c.Limit > 0 && c.Required > c.Limit {
		return fmt.Errorf("%w: required_bytes %d is above limit_bytes %d", ErrOutOfRange, c.Required, c.Limit)
	}
	return nil
}

// Allows says whether a volume of size bytes satisfies the range.
func (c CapacityRange) Allows(size int64) bool {
	return size >= c.Required && (c.Limit == 0 || size <= c.Limit)
}

// Access is how a volume will be used, as far as a backend cares.
type Access struct {
	ReadOnly  bool // every access mode asked for only reads
	MultiNode bool // used from several nodes at once
	Block     bool // as a raw block device
}

// Segment is a place in the cluster: topology keys and their values, such as {"csi.strata.dev/node": "n1"}.
type Segment map[string]string

// Capacity is the room that is left.
type Capacity struct {
	Available int64 // bytes that volumes can still take together
	Largest   int64 // bytes of the largest single volume; 0: not known
}

// Owner is who asked for a volume, for an operator to read; every field may be empty.
// external-provisioner gives the fields of Kubernetes with --extra-create-metadata.
type Owner struct {
	PV        string `json:"pv,omitempty"`
	PVC       string `json:"pvc,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// Source is what a new volume begins with; at most one field is set.
type Source struct {
	Volume   ID         `json:"volume,omitempty"`
	Snapshot SnapshotID `json:"snapshot,omitempty"`
}

// Empty says that a volume begins empty.
func (s Source) Empty() bool { return s == Source{} }

// Spec asks for a volume.
type Spec struct {
	Name       string // unique in the cluster, 1-128 bytes of any text
	Capacity   CapacityRange
	Access     Access
	Parameters map[string]string // of the StorageClass, without Kubernetes' own
	Owner      Owner
	Source     Source
	// Preferred are the segments the volume should be reachable from, best first; a tier that every node reaches takes no notice.
	// Empty: anywhere.
	Preferred []Segment
}

// Volume is a volume that is ready to be staged.
type Volume struct {
	ID       ID
	Capacity int64             // bytes, the quota
	Context  map[string]string // what a node needs to stage it; holds no secret
	Source   Source
	Segments []Segment // where it can be reached from; none: everywhere
}

// SnapshotSpec asks for a snapshot.
type SnapshotSpec struct {
	Name       string // unique in the cluster, 1-128 bytes of any text
	Source     ID
	Parameters map[string]string // of the VolumeSnapshotClass, without Kubernetes' own
}

// Snapshot is a snapshot as the backend knows it.
type Snapshot struct {
	ID      SnapshotID
	Source  ID
	Created time.Time
	Size    int64 // bytes a restored volume needs at least
}

// Usage is what a mounted volume holds; the totals are the volume's own limits, not the backend's size.
type Usage struct {
	TotalBytes, UsedBytes, AvailableBytes    int64
	TotalInodes, UsedInodes, AvailableInodes int64 // 0 in all where the volume has no limit on them
}

// Severity is how bad a Condition is.
type Severity int

// The severities of the CSI VolumeHealth messages.
const (
	Degraded     Severity = iota + 1 // works, with less safety or speed
	Inaccessible                     // can't be used now; the data should be there
	DataLoss                         // some data is gone
)

// Condition is one thing that is wrong with a volume.
type Condition struct {
	Severity Severity
	Reason   string // CamelCase, stable, for a machine
	Message  string // for a person: what is wrong and what to do
}
