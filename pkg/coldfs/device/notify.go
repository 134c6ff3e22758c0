package device

// What the kernel is told without having asked. It may wait for a directory's lock that the caller of a request holds, so none of this is
// called while a request is answered, but from a goroutine of its own.

import (
	"encoding/binary"
)

// FUSE_NOTIFY_INVAL_ENTRY (linux/fuse.h, enum fuse_notify_code).
const notifyInvalidateEntry = 3

// InvalidateEntry makes the kernel forget what a name of a directory means. It looks it up again when it is used, and forgets the node if nobody has it open.
// A name that the kernel doesn't know is no error.
func (s *Server) InvalidateEntry(parent uint64, name string) error {
	// struct fuse_out_header, struct fuse_notify_inval_entry_out{parent, namelen, flags}, the name and a NUL
	out := make([]byte, replyHeader+16+len(name)+1)
	binary.NativeEndian.PutUint32(out, uint32(len(out)))
	binary.NativeEndian.PutUint32(out[4:], notifyInvalidateEntry)
	binary.NativeEndian.PutUint64(out[16:], parent)
	binary.NativeEndian.PutUint32(out[24:], uint32(len(name)))
	copy(out[32:], name)
	return s.write(out)
}
