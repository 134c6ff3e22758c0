package btrfs

// BTRFS_IOC_TREE_SEARCH: items of the file system's own trees, as they are in memory.

import (
	"encoding/binary"
	"errors"
)

// Trees and item types (btrfs_tree.h).
const (
	rootTree  = 1
	quotaTree = 8

	rootItem      = 132
	rootRef       = 156
	groupRelation = 246
)

const maxUint64 = 1<<64 - 1

// searchKey is the part of struct btrfs_ioctl_search_key that is used; both ends are included.
type searchKey struct {
	tree                 uint64
	objectMin, objectMax uint64
	kind                 uint32
	offsetMin, offsetMax uint64
}

type item struct {
	object, offset uint64
	data           []byte
}

var errCorruptAnswer = errors.New("BTRFS_IOC_TREE_SEARCH: the answer does not fit its own lengths")

// search calls found for every item of one type. A key is a line of numbers, not a box: items between its ends whose
// type is another are passed over here.
func (fs *FS) search(k searchKey, found func(item) error) error {
	const keySize, headerSize = 104, 32
	object, offset := k.objectMin, k.offsetMin
	kind := k.kind
	for {
		arg := make([]byte, 4096)
		copy(arg, words(k.tree, object, k.objectMax, offset, k.offsetMax, 0, maxUint64))
		order.PutUint32(arg[56:], kind)
		order.PutUint32(arg[60:], k.kind)
		order.PutUint32(arg[64:], 1<<16)
		if err := ioctl(fs.dir, "BTRFS_IOC_TREE_SEARCH", iocTreeSearch, arg); err != nil {
			return err
		}
		n := order.Uint32(arg[64:])
		if n == 0 {
			return nil
		}
		rest := arg[keySize:]
		for range n {
			if len(rest) < headerSize {
				return errCorruptAnswer
			}
			i := item{object: order.Uint64(rest[8:]), offset: order.Uint64(rest[16:])}
			kind = order.Uint32(rest[24:])
			size := order.Uint32(rest[28:])
			if uint64(len(rest)) < headerSize+uint64(size) {
				return errCorruptAnswer
			}
			i.data = rest[headerSize : headerSize+size]
			rest = rest[headerSize+size:]
			object, offset = i.object, i.offset
			inside := i.object >= k.objectMin && i.object <= k.objectMax && i.offset >= k.offsetMin && i.offset <= k.offsetMax
			if kind == k.kind && inside {
				if err := found(i); err != nil {
					return err
				}
			}
		}
		switch { // the next key
		case offset < maxUint64:
			offset++
		case kind < 255:
			kind, offset = kind+1, 0
		case object < maxUint64:
			object, kind, offset = object+1, 0, 0
		default:
			return nil
		}
		if object > k.objectMax || object == k.objectMax && kind > k.kind {
			return nil
		}
	}
}

// le reads the little-endian number at an offset of an item.
func le(data []byte, at int) uint64 {
	if len(data) < at+8 {
		return 0
	}
	return binary.LittleEndian.Uint64(data[at:])
}
