package clusters

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/volume"
)

// Store is the configuration in force. Its methods can be called from many goroutines.
type Store struct {
	options Options

	mu          sync.RWMutex
	text        []byte // last read, in force or not
	byID        map[string]Cluster
	lastErr     error
	since       time.Time // when byID came into force
	subscribers []func(changed []string)
}

// Open loads the file. Changes are seen once Watch runs.
func Open(o Options) (*Store, error) {
	text, err := read(o.Path)
	if err != nil {
		return nil, err
	}
	list, err := parse(o, text)
	if err != nil {
		return nil, err
	}
	s := Static(list...)
	s.options, s.text = o, text
	return s, nil
}

// Static is a store of clusters that are taken as they are and never change.
func Static(list ...Cluster) *Store {
	return &Store{byID: index(list), since: time.Now()}
}

func index(list []Cluster) map[string]Cluster {
	byID := make(map[string]Cluster, len(list))
	for _, c := range list {
		byID[c.ID] = c.clone()
	}
	return byID
}

// Get returns the cluster named id. The error wraps volume.ErrInvalid and lists the known ones.
func (s *Store) Get(id string) (Cluster, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.byID[id]
	if !ok {
		known := s.ids()
		return Cluster{}, fmt.Errorf("%w: no cluster %q is configured%s (configured: %s)",
			volume.ErrInvalid, id, suggest.Hint(id, known), strings.Join(known, ", "))
	}
	return c.clone(), nil
}

// Default returns the only cluster. With several the error wraps volume.ErrInvalid and lists them.
func (s *Store) Default() (Cluster, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	known := s.ids()
	if len(known) != 1 {
		return Cluster{}, fmt.Errorf("%w: clusterID is needed where not exactly one cluster is configured (configured: %s)",
			volume.ErrInvalid, strings.Join(known, ", "))
	}
	return s.byID[known[0]].clone(), nil
}

// Monitors returns the addresses of the cluster's monitors, host:port. The error is that of Get.
func (s *Store) Monitors(id string) ([]string, error) {
	c, err := s.Get(id)
	return c.Monitors, err
}

// IDs returns the ids of the configured clusters, sorted.
func (s *Store) IDs() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ids()
}

func (s *Store) ids() []string { return slices.Sorted(maps.Keys(s.byID)) }

// Err says why the newest file is not in force; nil when it is.
func (s *Store) Err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lastErr
}

// Subscribe has f called after each change that came into force, with the sorted ids of the clusters that were added,
// changed or removed. Calls come one at a time, from the goroutine of Watch.
func (s *Store) Subscribe(f func(changed []string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers = append(s.subscribers, f)
}

// errUnchanged: the file is the one that was read last.
var errUnchanged = errors.New("unchanged")

// reload reads the file again and puts it in force when it has no mistake. It returns the ids that changed,
// errUnchanged when nobody touched the text, or what is wrong, which is also what Err returns then.
func (s *Store) reload() ([]string, error) {
	text, err := read(s.options.Path)
	if err == nil {
		s.mu.RLock()
		// A file that failed is checked again: what it names, a key file, may have come since.
		same := bytes.Equal(text, s.text) && s.lastErr == nil
		s.mu.RUnlock()
		if same {
			return nil, errUnchanged
		}
	}
	var list []Cluster
	if err == nil {
		list, err = parse(s.options, text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.lastErr != nil && s.lastErr.Error() == err.Error() {
			return nil, errUnchanged
		}
		s.lastErr = err
		return nil, err
	}
	changed := difference(s.byID, index(list))
	s.byID, s.text, s.lastErr, s.since = index(list), text, nil, time.Now()
	return changed, nil
}

// difference lists the ids that are in only one of the two, or differ.
func difference(old, new map[string]Cluster) []string {
	var ids []string
	for id, c := range old {
		if n, ok := new[id]; !ok || !c.equal(n) {
			ids = append(ids, id)
		}
	}
	for id := range new {
		if _, ok := old[id]; !ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
