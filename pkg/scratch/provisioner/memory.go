package provisioner

import (
	"container/list"
	"sync"

	"github.com/strata-csi/strata/pkg/volume"
)

// remembered is what Create gave for a name, and Expand made of it.
type remembered struct {
	class    string
	size     int64
	segments []volume.Segment // at most one
}

// memory keeps the names that were used last.
type memory struct {
	max int

	mu    sync.Mutex
	order *list.List // of entry, the last used first
	names map[string]*list.Element
}

type entry struct {
	name string
	remembered
}

func newMemory(max int) *memory {
	return &memory{max: max, order: list.New(), names: map[string]*list.Element{}}
}

func (m *memory) get(name string) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.names[name]
	if !ok {
		return remembered{}, false
	}
	m.order.MoveToFront(e)
	return e.Value.(entry).remembered, true
}

func (m *memory) put(name string, r remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.names[name]; ok {
		e.Value = entry{name, r}
		m.order.MoveToFront(e)
		return
	}
	m.names[name] = m.order.PushFront(entry{name, r})
	if m.order.Len() > m.max {
		m.drop(m.order.Back())
	}
}

func (m *memory) remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.names[name]; ok {
		m.drop(e)
	}
}

func (m *memory) drop(e *list.Element) {
	m.order.Remove(e)
	delete(m.names, e.Value.(entry).name)
}
