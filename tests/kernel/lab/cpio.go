package lab

// An archive as the kernel unpacks it at boot: cpio's "newc" format
// (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel). It is not
// compressed: unpacking would cost the emulated processor more than reading.

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// archive writes a cpio archive. Missing parent directories are added.
type archive struct {
	w       io.Writer
	dirs    map[string]bool
	inode   int
	written int64
	err     error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: w, dirs: map[string]bool{".": true, "/": true}}
}

func (a *archive) dir(name string) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if name == "" || a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name, unix.S_IFDIR|0o755, 0, strings.NewReader(""))
}

func (a *archive) text(name, content string) {
	a.dir(path.Dir(name))
	a.entry(name, unix.S_IFREG|0o644, int64(len(content)), strings.NewReader(content))
}

func (a *archive) symlink(name, to string) {
	a.dir(path.Dir(name))
	a.entry(name, unix.S_IFLNK|0o777, int64(len(to)), strings.NewReader(to))
}

// file adds the host's file from, executable.
func (a *archive) file(name, from string) {
	a.dir(path.Dir(name))
	f, err := os.Open(from)
	if err != nil {
		a.fail(err)
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		a.fail(err)
		return
	}
	a.entry(name, unix.S_IFREG|0o755, st.Size(), f)
}

// close ends the archive and returns the first error.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, strings.NewReader(""))
	return a.err
}

func (a *archive) entry(name string, mode uint32, size int64, content io.Reader) {
	name = strings.TrimPrefix(name, "/")
	a.inode++
	// magic, inode, mode, uid, gid, links, mtime, size, device major and minor,
	// special device major and minor, length of the name with its NUL, checksum.
	a.write(strings.NewReader(fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)))
	a.pad()
	before := a.written
	a.write(content)
	if a.err == nil && a.written-before != size {
		a.fail(fmt.Errorf("%s changed while it was read", name))
	}
	a.pad()
}

func (a *archive) write(r io.Reader) {
	if a.err != nil {
		return
	}
	n, err := io.Copy(a.w, r)
	a.written += n
	a.fail(err)
}

// pad fills up to a multiple of four bytes.
func (a *archive) pad() {
	a.write(strings.NewReader(strings.Repeat("\x00", int(-a.written&3))))
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}
