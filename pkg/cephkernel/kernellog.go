package cephkernel

// What the client says in the kernel's log only. The errno of a mount that never
// reached the metadata server is the same for every cause; the log tells them apart
// for a human. It is an extra: a process that may not read the log does without, and
// no decision rests on it, because lines carry no mark of the mount they are about.

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLogLines bounds what is taken over into an error.
const maxLogLines = 3

// kernelLog is a place in the kernel's log; -1 when it can't be read.
type kernelLog int

// openKernelLog returns the present end of the log.
func openKernelLog() kernelLog {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		_ = unix.Close(fd)
		return -1
	}
	return kernelLog(fd)
}

// since returns the last lines the Ceph client logged since the log was opened. A
// read of /dev/kmsg is one record, "PRIORITY,SEQUENCE,TIME,FLAGS;TEXT\n..."
// (Documentation/ABI/testing/dev-kmsg).
func (l kernelLog) since() []string {
	if l < 0 {
		return nil
	}
	var lines []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.Read(int(l), buf)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) {
			continue // the record was overwritten: go on with the next
		}
		if err != nil || n <= 0 {
			break
		}
		_, text, _ := strings.Cut(string(buf[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		if (strings.HasPrefix(text, "libceph: ") || strings.HasPrefix(text, "ceph: ")) && !slices.Contains(lines, text) {
			lines = append(lines, text)
		}
	}
	return lines[max(0, len(lines)-maxLogLines):]
}

func (l kernelLog) close() {
	if l >= 0 {
		_ = unix.Close(int(l))
	}
}
