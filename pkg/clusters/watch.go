package clusters

// Seeing that the file changed. The directory is watched, not the file: Kubernetes changes a mounted ConfigMap by
// renaming the symbolic link "..data" beside it, and an editor puts a new file in the place of the old.

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/klog/v2"
)

const (
	// settle gathers the events of one change, and gives a writer that isn't atomic time for the rest of the file.
	settle = 100 * time.Millisecond
	// again is how often the file is read without any event: notifications can overflow, and network file systems have none.
	again = time.Minute
)

// Watch follows the file until ctx ends and returns nil then. A change with a mistake is logged once and
// leaves the old configuration in force; see Err and Describe.
func (s *Store) Watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the cluster configuration: %w", err)
	}
	defer w.Close()
	dir := filepath.Dir(s.options.Path)
	if err := w.Add(dir); err != nil {
		return fmt.Errorf("watch the cluster configuration: %s: %w", dir, err)
	}
	// The first look is for a change between Open and now.
	s.refresh(ctx)
	tick := time.NewTicker(again)
	defer tick.Stop()
	var settled <-chan time.Time // nil while nothing has happened since the last look
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return errors.New("watch the cluster configuration: the notifications ended")
			}
			if settled == nil {
				settled = time.After(settle)
			}
		case err := <-w.Errors:
			klog.FromContext(ctx).Error(err, "Lost notifications about the cluster configuration, reading it again")
			s.refresh(ctx)
		case <-settled:
			settled = nil
			s.refresh(ctx)
		case <-tick.C:
			// A directory that was removed and made again has lost its watch; one that has it already keeps it.
			if err := w.Add(dir); err != nil {
				klog.FromContext(ctx).Error(err, "Can't watch the directory of the cluster configuration", "directory", dir)
			}
			s.refresh(ctx)
		}
	}
}

// refresh takes over a changed file and tells the subscribers.
func (s *Store) refresh(ctx context.Context) {
	log := klog.FromContext(ctx)
	changed, err := s.reload()
	switch {
	case errors.Is(err, errUnchanged):
		return
	case err != nil:
		log.Error(err, "The changed cluster configuration is not used, the old one stays in force")
		return
	}
	log.Info("Cluster configuration read again", "file", s.options.Path, "changed", changed)
	if len(changed) == 0 {
		return
	}
	s.mu.RLock()
	subscribers := slices.Clone(s.subscribers)
	s.mu.RUnlock()
	for _, f := range subscribers {
		f(changed)
	}
}
