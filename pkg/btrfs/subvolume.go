package btrfs

// Making and finding subvolumes.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// firstFree is the least id of a subvolume that somebody made, and the inode number of every subvolume's root.
const firstFree = 256

// ErrNotSubvolume is returned for a name that stands for something else.
var ErrNotSubvolume = errors.New("not a subvolume")

// Subvolume is an open subvolume. Close closes its root.
type Subvolume struct {
	*os.File
	ID uint64 // never given to another one
}

// Create makes an empty subvolume in a directory. It belongs to the caller and has mode 0755 less the umask.
func (fs *FS) Create(dir *os.File, name string) error {
	arg, err := named(name)
	if err != nil {
		return err
	}
	return ioctl(dir, "BTRFS_IOC_SUBVOL_CREATE "+name, iocSubvolCreate, arg)
}

// Lookup opens the subvolume of that name in a directory. Of a link it opens nothing, nor of anything mounted there. The error wraps
// os.ErrNotExist, ErrNotSubvolume, or is of the operating system.
func (fs *FS) Lookup(dir *os.File, name string) (*Subvolume, error) {
	if _, err := named(name); err != nil {
		return nil, err
	}
	f, err := OpenBeneath(dir, name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s/%s: %w", dir.Name(), name, ErrNotSubvolume)
	}
	if err != nil {
		return nil, err
	}
	id, err := root(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Subvolume{File: f, ID: id}, nil
}

// OpenBeneath opens a directory below another one; no link is followed and no mount is crossed.
func OpenBeneath(dir *os.File, name string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(int(dir.Fd()), name, &how)
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: dir.Name() + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), dir.Name()+"/"+name), nil
}

// root is the id of the subvolume whose root f is.
func root(f *os.File) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	if st.Ino != firstFree {
		return 0, fmt.Errorf("%s: %w", f.Name(), ErrNotSubvolume)
	}
	return IDOf(f)
}

// IDOf is the id of the subvolume that a file or directory lies in.
func IDOf(f *os.File) (uint64, error) {
	arg := make([]byte, 4096)
	copy(arg, words(0, firstFree))
	if err := ioctl(f, "BTRFS_IOC_INO_LOOKUP", iocInoLookup, arg); err != nil {
		return 0, err
	}
	return order.Uint64(arg), nil
}

// State is how far a subvolume is on its way.
type State int

// The states.
const (
	Gone  State = iota // there is none of that id any more, or never was
	Dying              // it was destroyed, and its space is not free yet
	Alive
)

// State looks for a subvolume by its id.
func (fs *FS) State(id uint64) (State, error) {
	const references = 160 + 7*8 // in struct btrfs_root_item, behind the inode and seven numbers
	state := Gone
	err := fs.search(searchKey{tree: rootTree, objectMin: id, objectMax: id, kind: rootItem, offsetMax: maxUint64}, func(i item) error {
		if len(i.data) < references+4 {
			return errCorruptAnswer
		}
		state = Dying
		if binary.LittleEndian.Uint32(i.data[references:]) > 0 {
			state = Alive
		}
		return errEnough // there is one
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return state, err
}

// errEnough ends a search that has found what it was for.
var errEnough = errors.New("enough")

// child is a subvolume within another one.
type child struct {
	id        uint64
	directory uint64 // inode number, in the parent
	name      string
}

// children are the subvolumes directly within one, wherever in it they are; at most max of them.
func (fs *FS) children(id uint64, max int) ([]child, error) {
	var all []child
	err := fs.search(searchKey{tree: rootTree, objectMin: id, objectMax: id, kind: rootRef, offsetMax: maxUint64}, func(i item) error {
		// struct btrfs_root_ref: directory, sequence, length of the name, the name
		if len(i.data) < 18 {
			return errCorruptAnswer
		}
		n := int(binary.LittleEndian.Uint16(i.data[16:]))
		if len(i.data) < 18+n {
			return errCorruptAnswer
		}
		all = append(all, child{id: i.offset, directory: le(i.data, 0), name: string(i.data[18 : 18+n])})
		if len(all) >= max {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return all, err
}
