package warm_test

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/strata-csi/strata/pkg/volume"
)

// keeper keeps secrets in memory, as pkg/kube does in a cluster.
type keeper struct {
	mu     sync.Mutex
	kept   map[string]kept
	keeps  int
	broken error // instead of an answer
}

type kept struct {
	id     volume.ID
	fields map[string]string
}

func (k *keeper) Keep(_ context.Context, name string, id volume.ID, fields map[string]string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken != nil {
		return k.broken
	}
	k.keeps++
	if have, ok := k.kept[name]; ok && have.id != id {
		return fmt.Errorf("%w: secret %s", volume.ErrExists, name)
	}
	if k.kept == nil {
		k.kept = map[string]kept{}
	}
	k.kept[name] = kept{id, maps.Clone(fields)}
	return nil
}

func (k *keeper) Drop(_ context.Context, name string, id volume.ID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken != nil {
		return k.broken
	}
	if k.kept[name].id == id {
		delete(k.kept, name)
	}
	return nil
}

func (k *keeper) get(name string) (kept, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.kept[name]
	return v, ok
}

func (k *keeper) names() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.kept)
}

func (k *keeper) breakWith(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = err
}
