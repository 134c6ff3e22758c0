package inspect

import (
	"time"

	"github.com/strata-csi/strata/pkg/version"
)

// APIVersion is that of the documents of this package. Fields are added under the same version; a field that goes or changes its meaning
// makes a new one.
const APIVersion = "inspect.csi.strata.dev/v1"

// The kinds of documents.
const (
	KindDoctor    = "Doctor"
	KindInventory = "Inventory"
	KindKeys      = "KeyList"
	KindNodeFence = "NodeFence"
)

// Header begins every document.
type Header struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Program    string    `json:"program"` // version of the program that looked
	Time       time.Time `json:"time"`    // when it began to look
}

func header(kind string) Header {
	return Header{APIVersion: APIVersion, Kind: kind, Program: version.String(), Time: time.Now().UTC().Truncate(time.Second)}
}

// Result is what came of a check.
type Result string

// The results of a check.
const (
	OK      Result = "ok"
	Warn    Result = "warn"    // works, with less safety, or not for long
	Fail    Result = "fail"    // something doesn't work
	Unknown Result = "unknown" // it couldn't be looked at
)

// Check is one thing that was looked at.
type Check struct {
	Name    string `json:"name"`          // what is checked, fixed words such as "ceph-pools"
	Subject string `json:"subject"`       // of which object; "" when there is only one
	Result  Result `json:"result"`        //
	Found   string `json:"found"`         // a sentence for people
	Fix     string `json:"fix,omitempty"` // the command that mends it, or what to do
}

// Doctor is the state of all clusters of the configuration.
type Doctor struct {
	Header
	Checks   []Check   `json:"checks"`
	Clusters []Cluster `json:"clusters"` // those that could be reached
}

// Cluster is what a StorageClass can be held against.
type Cluster struct {
	ID          string            `json:"id"`         // clusterID of the configuration
	NamePrefix  string            `json:"namePrefix"` // of this Kubernetes cluster's groups
	Defaults    map[string]string `json:"defaults"`   // StorageClass parameters of the configuration
	FileSystems []FileSystem      `json:"fileSystems"`
	Pools       []Pool            `json:"pools"`
}

// FileSystem is a CephFS file system.
type FileSystem struct {
	Name      string   `json:"name"`
	DataPools []string `json:"dataPools"` // the first holds what names no pool, and every file's backtrace
	Active    int      `json:"active"`    // metadata servers that serve
	Wanted    int      `json:"wanted"`    // max_mds
	Standby   int      `json:"standby"`   // those that can take over, shared by all file systems where they aren't its own
	Broken    int      `json:"broken"`    // ranks that are failed or damaged
}

// Pool is a RADOS pool.
type Pool struct {
	Name       string `json:"name"`
	Erasure    bool   `json:"erasure"`    // erasure-coded, else replicated
	Overwrites bool   `json:"overwrites"` // allow_ec_overwrites
	Full       bool   `json:"full"`
	NearFull   bool   `json:"nearFull"`
	Size       int    `json:"size"`      // copies, or shards
	Available  int64  `json:"available"` // bytes that can be written, the redundancy paid for
}

// Inventory is what this Kubernetes cluster has in its Ceph clusters.
type Inventory struct {
	Header
	Places    []Place    `json:"places"` // where everything was seen
	Missed    []Missed   `json:"missed"` // where it wasn't
	Volumes   []Volume   `json:"volumes"`
	Snapshots []Snapshot `json:"snapshots"` // only where they were asked for
	// Identities are those that volumes have, or had; only with the snapshots.
	Identities []Identity `json:"identities,omitempty"`
}

// Identity is a Ceph user that was made for one volume. Its key isn't looked at.
type Identity struct {
	User       string     `json:"user"`             // "client.NAME", that whose key the secret has
	Former     []string   `json:"former,omitempty"` // those before it that weren't retired
	Volume     string     `json:"volume"`           // id of the volume that it was made for
	Secret     string     `json:"secret"`           // in which its key was stored, in the driver's namespace; "" when it was never
	Cluster    string     `json:"cluster"`
	FileSystem string     `json:"fileSystem"`
	Directory  string     `json:"directory"` // of the index, in the file system
	Changed    *time.Time `json:"changed"`   // when it was made; null where it isn't known
}

// Place is a file system of a cluster, and the prefix of the groups that were looked at there.
type Place struct {
	Cluster    string `json:"cluster"`
	FileSystem string `json:"fileSystem"`
	NamePrefix string `json:"namePrefix"`
}

// Missed is what couldn't be seen: a file system, or, without one, a whole cluster.
type Missed struct {
	Cluster    string `json:"cluster"`
	FileSystem string `json:"fileSystem,omitempty"`
	Reason     string `json:"reason"`
}

// State is where the life of a volume or a snapshot stands.
type State string

// The states.
const (
	Ready      State = "ready"
	Copying    State = "copying"    // a volume whose first content comes
	Unfinished State = "unfinished" // a request that was interrupted, or is under way
	Retained   State = "retained"   // a volume that was deleted and only keeps snapshots
	Unreadable State = "unreadable" // its record isn't one that this program knows
	Temporary  State = "temporary"  // a snapshot that serves a copy and goes with it
	Unrecorded State = "unrecorded" // a snapshot in Ceph that this driver has no record of
	Lost       State = "lost"       // a snapshot that is recorded and not in Ceph
)

// Volume is a subvolume, or a volume that is served from a snapshot.
type Volume struct {
	ID         string      `json:"id"` // the volumeHandle of its PersistentVolume
	Cluster    string      `json:"cluster"`
	FileSystem string      `json:"fileSystem"`
	Group      string      `json:"group"`
	Name       string      `json:"name"`
	Team       string      `json:"team"`
	Request    string      `json:"request,omitempty"` // name that CreateVolume was called with
	PV         string      `json:"pv,omitempty"`      // whom it was made for, as far as the request said
	PVC        string      `json:"pvc,omitempty"`
	Namespace  string      `json:"namespace,omitempty"`
	Pool       string      `json:"pool,omitempty"`
	Source     string      `json:"source,omitempty"` // id of the volume or snapshot it began with
	ReadOnly   bool        `json:"readOnly"`         // served from its source, without a subvolume
	State      State       `json:"state"`
	Problem    string      `json:"problem,omitempty"` // why it is unreadable
	Size       int64       `json:"size"`              // bytes, the quota
	Used       *int64      `json:"used"`              // bytes; null where it isn't known
	Files      *int64      `json:"files"`             // files and directories; null where it isn't known
	Changed    *time.Time  `json:"changed"`           // the newest change below it, its making included; null where it isn't known
	Queued     bool        `json:"queued"`            // in Ceph's queue of copies: it mustn't be removed
	Snapshots  int         `json:"snapshots"`         // that Ceph keeps of it; only where they were asked for
	Health     []Condition `json:"health"`            // none: well
}

// Condition is what is wrong with a volume, in the words of the driver's volume health.
type Condition struct {
	Severity string `json:"severity"` // degraded, inaccessible
	Reason   string `json:"reason"`   // fixed words such as QuotaReached
	Message  string `json:"message"`
}

// Snapshot is a snapshot of a subvolume.
type Snapshot struct {
	ID         string     `json:"id,omitempty"` // the snapshotHandle of its VolumeSnapshotContent; none when it isn't recorded
	Cluster    string     `json:"cluster"`
	FileSystem string     `json:"fileSystem"`
	Group      string     `json:"group"` // of the subvolume
	Volume     string     `json:"volume"`
	Name       string     `json:"name"`
	Request    string     `json:"request,omitempty"`
	State      State      `json:"state"`
	Problem    string     `json:"problem,omitempty"`
	Size       int64      `json:"size"`    // bytes that a restored volume needs
	Created    *time.Time `json:"created"` // null where it isn't known
	Readers    []string   `json:"readers"` // names of the volumes that are served from it
}
