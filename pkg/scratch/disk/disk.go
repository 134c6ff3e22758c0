// Package disk says what a place for scratch volumes is: one disk of a node, with one way to give a volume a hard limit. The ways are
// packages of their own, each found to work, or not, by its Probe, which makes a volume, fills it and destroys it.
//
// A disk keeps no account: pkg/scratch journals a volume before it calls Create, decides how much a disk may hold, and
// calls no method for the same volume twice at a time. A scratch volume is empty when it is made and worth nothing once it is
// unmounted: what an interrupted call left is destroyed and made anew, never looked into, repaired or taken over.
package disk

import (
	"context"
	"fmt"
	"io/fs"
	"os"

	"github.com/strata-csi/strata/pkg/volume"
)

// Kind is a way to give a volume a hard limit.
type Kind string

// The kinds, in the order in which Auto tries them.
const (
	Btrfs Kind = "btrfs" // subvolume with a simple quota on a parent group
	LVM   Kind = "lvm"   // thick logical volume, striped over the disks of the volume group
	Loop  Kind = "loop"  // preallocated image behind a loop device
	XFS   Kind = "xfs"   // directory with a project quota; a file's owner may leave it, so it is never chosen unasked
)

// Spec is a volume to be made.
type Spec struct {
	// Name is the volume's own on this disk: 1 to 64 of [a-z0-9-], beginning with a letter.
	Name string
	// Size is the hard limit in bytes, a multiple of 1 MiB. A file system on it takes its own part.
	Size int64
	// FSType is ext4 or xfs, or "" for the disk's own choice. A disk whose volumes are parts of its one file system takes only "" and the
	// name of that; see CheckSpec of Disk.
	FSType string
	// MkfsOptions are added to those the disk uses; from the operator's configuration, never from a pod.
	MkfsOptions []string
	// Block: no file system is made; Attach gives the raw device.
	Block bool
}

// Wipe is what happens to the bytes of a volume that is destroyed. Whatever it is, a new volume reads as zeros.
type Wipe string

// The wipe policies.
const (
	WipeNone    Wipe = "none"    // the space is given back as it is
	WipeDiscard Wipe = "discard" // the disk is told that the bytes are not needed
	WipeZero    Wipe = "zero"    // the bytes are overwritten with zeros before the space is given back
)

// Mount is how a volume is mounted.
type Mount struct {
	Path     string   // absolute, an empty directory on which nothing is mounted
	Options  []string // of the operator's configuration and the disk's own
	ReadOnly bool
}

// Disk is one place for volumes. Every call may be repeated, by a process that was started after another was killed within
// the first. Errors wrap those of pkg/volume: ErrExhausted for no space, ErrInvalid for a spec that can't be, ErrNotFound.
type Disk interface {
	Kind() Kind
	// Name says where it is, for the operator and the journal: a directory, or vg/NAME.
	Name() string
	// CheckSpec refuses a spec that Create would refuse whatever the state of the disk.
	CheckSpec(spec Spec) error
	// Capacity returns the bytes that volumes could have if none were there: what is free and what ours occupy. Files of others, and
	// what the disk needs for itself, are not in it.
	Capacity(ctx context.Context) (int64, error)
	// Create makes the volume, empty. Something of that name that is there already was left by an interrupted call: it is destroyed first.
	// When it fails nothing is left, unless the process dies.
	Create(ctx context.Context, spec Spec) error
	// Mount mounts a volume that Create made. The caller has seen that nothing is mounted at the path.
	Mount(ctx context.Context, name string, m Mount) error
	// Attach gives the device node of a volume made with Block; without block devices, volume.ErrUnsupported.
	Attach(ctx context.Context, name string) (device string, err error)
	// Mounted tells whether the mount at path is this volume: nil, or volume.ErrNotFound (nothing is mounted), volume.ErrExists
	// (something else is), volume.ErrUnavailable (it is, and doesn't work). It only looks at what the kernel knows, and holds nobody up.
	Mounted(ctx context.Context, name, path string) error
	// Grow makes the volume, mounted at path or attached (path ""), size bytes large; a larger one stays as it is.
	Grow(ctx context.Context, name, path string, size int64) error
	// Destroy takes away everything the volume is: device, file system, space, limits. The caller has unmounted it. A volume that doesn't
	// exist is no error; volume.ErrUnavailable: something still uses it.
	Destroy(ctx context.Context, name string, wipe Wipe) error
	// List returns the names of all volumes of ours that are there, whole or in part, in any order.
	List(ctx context.Context) ([]string, error)
	// Usage measures the mounted volume; its totals are the volume's own.
	Usage(ctx context.Context, name, path string) (volume.Usage, error)
	// Health looks at the volume and what it lies on; nothing means it is well.
	Health(ctx context.Context, name, path string) ([]volume.Condition, error)
	// Close ends what the Disk itself holds open; volumes and mounts stay.
	Close() error
}

// MinSize is the least a volume may have, bytes: room for a small file system.
const MinSize = 16 << 20

// CheckName refuses a name outside the grammar of Spec.Name. The error wraps volume.ErrInvalid.
func CheckName(name string) error {
	ok := len(name) >= 1 && len(name) <= 64 && name[0] >= 'a' && name[0] <= 'z'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if !ok {
		return fmt.Errorf("%w: %q can't name a scratch volume (1 to 64 of a-z, 0-9 and '-', beginning with a letter)", volume.ErrInvalid, name)
	}
	return nil
}

// WipeChecker is a Disk that can't keep every wipe policy.
type WipeChecker interface {
	// CheckWipe refuses a policy that the disk can't keep. The error wraps volume.ErrPrecondition.
	CheckWipe(wipe Wipe) error
}

// WholeMounter is a Disk whose mount appears at its path in one step, as it should be. Where a Disk isn't, the volume is mounted elsewhere
// first and made ready there.
type WholeMounter interface {
	// MountWhole is Mount with what the volume's root directory is to be.
	MountWhole(ctx context.Context, name string, m Mount, root Root) error
}

// Root is what the root directory of a volume is to be. Its user is root.
type Root struct {
	Mode  fs.FileMode // of permissions, with fs.ModeSetgid or without
	Group *uint32     // nil: as it is
}

// Apply changes the directory at path.
func (r Root) Apply(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return r.ApplyTo(d)
}

// ApplyTo changes an open directory.
func (r Root) ApplyTo(d *os.File) error {
	if r.Group != nil {
		if err := d.Chown(-1, int(*r.Group)); err != nil {
			return err
		}
	}
	return d.Chmod(r.Mode) // after the group, whose change may take bits away
}

// Refused is why a place can't be used in one of the ways.
type Refused struct {
	Kind   Kind
	Reason string // for the operator: what was tried, what came of it, what would change it
}

// Error is the kind and the reason.
func (r *Refused) Error() string { return string(r.Kind) + ": " + r.Reason }
