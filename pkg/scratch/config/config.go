// Package config reads what the operator of a node decides about scratch volumes: which disks they lie on, which classes a pod or a
// StorageClass may ask for, and how much anyone may have. A pod names a class and a size; all else is here.
package config

import (
	"time"

	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// Config is the node's scratch configuration file. All sizes are bytes, multiples of 1 MiB.
type Config struct {
	Pools   []Pool
	Classes []Class
	// MaxPerPod is the most bytes that the inline volumes of one pod may have together; 0: no limit of its own.
	MaxPerPod int64
	// MaxPerNode is the most bytes that all scratch volumes of the node may have together; 0: what the disks hold.
	MaxPerNode int64
	// Grace is how long a volume that nobody seems to own is kept before it is destroyed. Default 10 minutes.
	Grace time.Duration
}

// Pool is a set of disks that volumes are spread over, each on the one with the most room.
type Pool struct {
	Name  string // 1 to 32 of [a-z0-9-], beginning and ending with a letter or digit
	Disks []Place
	// Kinds are the ways that may be used, best first. Empty: btrfs, lvm, loop; xfs must be named.
	Kinds []disk.Kind
	// ReservePercent of every disk is never given out, 0 to 90. Default 5.
	ReservePercent int
}

// Place is one disk: exactly one field is set.
type Place struct {
	Path        string // an absolute directory that exists, of a file system made for it
	VolumeGroup string // an LVM volume group
}

// DefaultClass is the name of the class of a pod or a StorageClass that names none.
const DefaultClass = "default"

// Class is what a pod or a StorageClass names.
type Class struct {
	Name         string // 1 to 32 of [a-z0-9-], beginning and ending with a letter or digit
	Pool         string
	DefaultSize  int64     // bytes, of a volume that asks for none; 0: a size must be asked for
	MaxSize      int64     // bytes of one volume; 0: what the disk holds
	FSType       string    // ext4, xfs, or "" for the disk's own choice
	MkfsOptions  []string  // arguments of mkfs, each an entry
	MountOptions []string  // see CheckMountOptions
	Wipe         disk.Wipe // default WipeNone
}
