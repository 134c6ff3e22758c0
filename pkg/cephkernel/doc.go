// Package cephkernel mounts CephFS with the kernel's own client, without the
// mount.ceph helper and without a child process.
//
// A mount is made with the file system context system calls (fsopen, fsconfig,
// fsmount, move_mount; Linux 5.2) rather than with mount(2), for three reasons.
// The file system appears at the target only in the last step, which cannot
// block: a caller whose deadline passed never finds a mount turning up behind
// its back. The cephx key is copied by the kernel while the option naming it is
// parsed, so it leaves the keyring before the first packet is sent. And the
// context carries the kernel's own words about what failed.
//
// The key travels as the payload of a key in the keyring of one operating
// system thread: never in argv, in the environment, in a file or in the options
// that /proc/mounts shows.
//
// The package is pure Go. It knows nothing of volumes or of CSI.
package cephkernel
