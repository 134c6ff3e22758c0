package librados

// What a client that was killed leaves behind. Its session stays in the metadata server with the right to cache directories
// that it has looked at, and whoever wants to change one of them, the manager first of all, waits until the session
// has timed out: a minute in which no volume of the whole cluster is made or removed. So a client takes a name that its next
// life has too, and ends the session of its last life before it begins its own. libcephfs has this for NFS
// servers (ceph_start_reclaim in cephfs/libcephfs.h); go-ceph doesn't offer it.

/*
#cgo LDFLAGS: -lcephfs
#cgo CPPFLAGS: -D_FILE_OFFSET_BITS=64
#include <stdlib.h>
#include <cephfs/libcephfs.h>
*/
import "C"

import (
	"syscall"
	"unsafe"

	"github.com/ceph/go-ceph/cephfs"

	"github.com/strata-csi/strata/pkg/ceph"
)

// A cephfs.MountInfo is the C handle and nothing else; this doesn't compile when it gets a second field.
const _ = unsafe.Sizeof(uintptr(0)) - unsafe.Sizeof(cephfs.MountInfo{})

// reclaim ends the session of the last life of instance, if there is one, and gives the mount its name. The file system must have
// been selected, and must not be mounted yet.
func reclaim(op string, m *cephfs.MountInfo, instance string) error {
	handle := *(**C.struct_ceph_mount_info)(unsafe.Pointer(m))
	name := C.CString(instance)
	defer C.free(unsafe.Pointer(name))
	code := C.ceph_start_reclaim(handle, name, C.CEPH_RECLAIM_RESET)
	C.ceph_finish_reclaim(handle)
	// ENOENT: there is no such session. Any other refusal means that it can't be ended, and ends by itself later.
	if errno := syscall.Errno(-code); code != 0 && errno != syscall.ENOENT && errno != syscall.EOPNOTSUPP && errno != syscall.ENOTRECOVERABLE {
		return &ceph.Error{Op: op, Errno: errno}
	}
	C.ceph_set_uuid(handle, name)
	return nil
}
