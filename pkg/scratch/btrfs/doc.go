// Package btrfs makes scratch volumes on a btrfs file system: a volume is a subvolume, its limit a simple quota (Linux 6.7), and what
// is mounted is an overlay over a directory in it. Making one writes no file system and moves no data: it takes milliseconds.
//
//	PATH/.strata-scratch/          root only
//	    NAME/                      the subvolume, charged to group 1/ID with ID its own id, which holds the limit
//	        data/                  what the pod sees, through the overlay
//	        work/ lower/           the overlay's own
//
// # Why an overlay
//
// A pod that could call btrfs' ioctls on its volume would leave the limit: BTRFS_IOC_SUBVOL_CREATE_V2 takes from anybody a list of groups for the
// new subvolume, and an empty one is no group at all. Nothing in btrfs refuses it. overlayfs passes no ioctl on: no subvolume, no
// snapshot, no quota call can be made through it, and the limit, on all that the one subvolume has, holds. Probe tries that and
// refuses the disk where it doesn't. What an overlay costs: a pod with its own user namespace (hostUsers: false) needs ID-mapped
// mounts, which overlayfs has not; a container engine within the pod can't put its own overlay on it.
//
// The overlay is volatile: fsync(2) returns without writing, since nothing of a scratch volume survives the machine, and unmounting one
// volume doesn't write out the files of all others. A write error of the disk is still reported by the next fsync.
//
// # The limit
//
// Data and metadata are charged, inline files included; a block is charged as a whole until its last byte is overwritten or freed, so that a volume that is
// rewritten at random may be full with less in its files than its size. Room for data is taken when write(2) is called, not when the page is written out: beyond the
// limit write(2), fallocate(2) and the first touch of a mapped hole (SIGBUS) fail with EDQUOT, and nothing that was accepted is lost. In a full volume files
// can be removed, but not truncated or punched: that fails with EDQUOT, since btrfs first wants room for the change itself. statfs(2) shows the whole disk, Usage the volume.
//
// A file copied with copy_file_range(2) between two volumes of one pod shares its blocks. They stay charged to the first volume, and when that is destroyed they
// are charged to nobody's limit, but counted as taken from the disk, until the second is too. The empty group goes with the next List.
//
// # The disk
//
// Level 1 of the file system's groups belongs to this package from the moment PATH/.strata-scratch exists; Probe makes it only when there is no
// group of that level. Metadata of a profile that stores more copies than that of data takes more of the disk than it is charged for: Capacity
// counts all of it at the dearer profile, which halves what a disk with the usual -m dup seems to have. `mkfs.btrfs -m single -d single` (or raid0
// for both on several disks) loses nothing: nothing here is worth a copy. Even so data chunks can't hold metadata: a disk given out to the
// last byte to volumes of nothing but tiny files is full of one before the other; the pool's reserve is for that.
package btrfs
