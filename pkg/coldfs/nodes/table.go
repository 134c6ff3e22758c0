// Package nodes is the table of what the kernel knows of a mount by number.
//
// A node id is given once and never means something else. A node stands at a path until it is unlinked, replaced or found to be another version; from then on it is detached: who has it open goes on with it,
// and the path gets a node of its own. The table keeps a node as long as the kernel counts it, somebody has it pinned, or another node stands below it.
package nodes

import (
	"hash/fnv"
	"strings"
	"sync"
)

// RootID is the id of the root, by the protocol.
const RootID = 1

// Node is one node; T is what its owner keeps of it. The exported fields don't change.
type Node[T any] struct {
	ID uint64
	// Ino is the number that stat shows. It is made of the path, so that it is the same in every life of an engine, unless a node that was at this path before has it still.
	Ino   uint64
	Value T

	// By the table's mutex:
	parent   *Node[T] // nil: the root, or detached
	name     string
	children map[string]*Node[T]
	lookups  uint64 // as the kernel counts
	pins     int
}

// Table is all nodes of a mount. It is safe for concurrent use, and no call waits for anything.
type Table[T any] struct {
	mu   sync.Mutex
	byID map[uint64]*Node[T]
	inos map[uint64]int // how many nodes show it
	next uint64
	root *Node[T]
}

// New makes a table with the root alone.
func New[T any](root T) *Table[T] {
	n := &Node[T]{ID: RootID, Ino: RootID, Value: root, lookups: 1}
	return &Table[T]{byID: map[uint64]*Node[T]{RootID: n}, inos: map[uint64]int{RootID: 1}, next: RootID + 1, root: n}
}

// Root is the node of the root.
func (t *Table[T]) Root() *Node[T] { return t.root }

// Len is how many nodes there are.
func (t *Table[T]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// Get is the node of an id; nil: there is none.
func (t *Table[T]) Get(id uint64) *Node[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

// Child is the node at a name of a directory; nil: none is known.
func (t *Table[T]) Child(parent *Node[T], name string) *Node[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	return parent.children[name]
}

// Enter puts a new node at a name of a directory and pins it for the caller; what was there is detached and returned. When the directory itself was detached the new node is from the beginning.
func (t *Table[T]) Enter(parent *Node[T], name string, value T) (entered, replaced *Node[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	replaced = parent.children[name]
	if replaced != nil {
		t.detach(replaced)
	}
	n := &Node[T]{ID: t.next, Value: value, pins: 1}
	t.next++
	n.Ino = t.ino(parent, name, n.ID)
	t.inos[n.Ino]++
	t.byID[n.ID] = n
	t.attach(n, parent, name)
	if replaced != nil {
		t.drop(replaced)
	}
	return n, replaced
}

// InoOf is the number that a node at this name shows, or would show.
func (t *Table[T]) InoOf(parent *Node[T], name string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := parent.children[name]; n != nil {
		return n.Ino
	}
	return t.ino(parent, name, t.next)
}

// ino is the hash of the path. One that another node still shows isn't given twice, as programs that follow a log take a file with the same number for the same file.
func (t *Table[T]) ino(parent *Node[T], name string, id uint64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(strings.Join(t.path(parent), "/") + "/" + name))
	ino := h.Sum64() >> 1 // positive as a signed number too
	for ino <= RootID || t.inos[ino] > 0 {
		ino = (ino + id*0x9e3779b97f4a7c15) >> 1
		id++
	}
	return ino
}

// Replace is Enter for another version of what stands there: it shows the same number.
func (t *Table[T]) Replace(old *Node[T], value T) *Node[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := &Node[T]{ID: t.next, Ino: old.Ino, Value: value, pins: 1}
	t.next++
	t.inos[n.Ino]++
	t.byID[n.ID] = n
	if parent := old.parent; parent != nil {
		name := old.name
		t.detach(old)
		t.attach(n, parent, name)
		t.drop(old)
	}
	return n
}

// attach puts n below parent. A parent that was dropped meanwhile holds nobody.
func (t *Table[T]) attach(n, parent *Node[T], name string) {
	if t.byID[parent.ID] != parent {
		return
	}
	if parent.children == nil {
		parent.children = map[string]*Node[T]{}
	}
	parent.children[name] = n
	n.parent, n.name = parent, name
}

// Detach takes a node from its path; false: it had none.
func (t *Table[T]) Detach(n *Node[T]) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	attached := n.parent != nil
	t.detach(n)
	t.drop(n)
	return attached
}

func (t *Table[T]) detach(n *Node[T]) {
	parent := n.parent
	if parent == nil {
		return
	}
	delete(parent.children, n.name)
	n.parent = nil
	t.drop(parent)
}

// Move puts a node to another name, with all that is below it; what was there is detached.
func (t *Table[T]) Move(n, parent *Node[T], name string) (replaced *Node[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if replaced = parent.children[name]; replaced == n {
		return nil
	}
	if replaced != nil {
		t.detach(replaced)
		t.drop(replaced)
	}
	n.pins++ // it must outlive its way
	t.detach(n)
	t.attach(n, parent, name)
	n.pins--
	t.drop(n)
	return replaced
}

// Count adds one to what the kernel counts of a node.
func (t *Table[T]) Count(n *Node[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.lookups++
}

// Forget takes from what the kernel counts.
func (t *Table[T]) Forget(id, count uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil || id == RootID {
		return
	}
	n.lookups -= min(count, n.lookups)
	t.drop(n)
}

// Pin keeps a node until Unpin; false: it isn't in the table any more.
func (t *Table[T]) Pin(n *Node[T]) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[n.ID] != n {
		return false
	}
	n.pins++
	return true
}

// Unpin ends a Pin.
func (t *Table[T]) Unpin(n *Node[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.pins--
	t.drop(n)
}

// drop removes a node that nobody needs, and its parents that nobody needs then.
func (t *Table[T]) drop(n *Node[T]) {
	for n != nil && n != t.root && n.lookups == 0 && n.pins == 0 && len(n.children) == 0 && t.byID[n.ID] == n {
		delete(t.byID, n.ID)
		if t.inos[n.Ino]--; t.inos[n.Ino] == 0 {
			delete(t.inos, n.Ino)
		}
		parent := n.parent
		if parent != nil {
			delete(parent.children, n.name)
			n.parent = nil
		}
		n = parent
	}
}

// Path are the names from the root to a node; false: it is detached, or below a detached one.
func (t *Table[T]) Path(n *Node[T]) ([]string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	path := t.path(n)
	for n.parent != nil {
		n = n.parent
	}
	return path, n == t.root
}

func (t *Table[T]) path(n *Node[T]) []string {
	depth := 0
	for up := n; up.parent != nil; up = up.parent {
		depth++
	}
	path := make([]string, depth)
	for ; n.parent != nil; n = n.parent {
		depth--
		path[depth] = n.name
	}
	return path
}

// Place is the directory and the name of a node; false: it is the root or detached.
func (t *Table[T]) Place(n *Node[T]) (parent *Node[T], name string, attached bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return n.parent, n.name, n.parent != nil
}

// Below are all nodes below a directory, however deep, pinned: each is to be unpinned.
func (t *Table[T]) Below(dir *Node[T]) []*Node[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*Node[T]
	for open := []*Node[T]{dir}; len(open) > 0; {
		n := open[len(open)-1]
		open = open[:len(open)-1]
		for _, child := range n.children {
			child.pins++
			all = append(all, child)
			open = append(open, child)
		}
	}
	return all
}

// Idle are up to limit nodes at paths that nobody has pinned and that have nothing below them, in no order: what the kernel can be asked to forget.
func (t *Table[T]) Idle(limit int) []*Node[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	var idle []*Node[T]
	for _, n := range t.byID {
		if len(idle) == limit {
			break
		}
		if n.pins == 0 && n.parent != nil && len(n.children) == 0 {
			idle = append(idle, n)
		}
	}
	return idle
}
