package mountpoint

// This file decides which errors mean that a mount is dead: no retry on it will
// ever succeed, and only mounting anew helps.

import (
	"errors"
	"syscall"
)

// Dead tells whether err, from Prober.Probe of a mount's root by root, says
// that the client behind the mount is gone for good:
//
//   - ENOTCONN: the FUSE server died, or its connection was aborted;
//   - ESTALE: the root inode no longer exists at the server, or the kernel's
//     CephFS client was shut down;
//   - EACCES: the kernel's CephFS client was evicted (a rejected session in
//     fs/ceph/mds_client.c). Permission bits never refuse root on a mount root,
//     so nothing else says EACCES there;
//   - ESHUTDOWN: ceph-fuse or librados was evicted and put on the blocklist
//     (Ceph's EBLOCKLISTED is ESHUTDOWN); ceph-fuse hides it behind ENOENT, which Probe sees through;
//   - EHOSTDOWN: a network file system gave its server up.
//
// EIO is not in the list on purpose: it is also what a live client says about
// one bad answer, and taking a mount away under running pods is worse than
// reporting it as unhealthy. Wrapped errors are recognised.
func Dead(err error) bool {
	for _, errno := range [...]syscall.Errno{
		syscall.ENOTCONN, syscall.ESTALE, syscall.EACCES, syscall.ESHUTDOWN, syscall.EHOSTDOWN,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
