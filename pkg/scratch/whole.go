package scratch

// Which volumes are whole. A file system that is made is mounted at its path in one step, and that mount says so for as long as this kernel
// runs: nothing has to be on the disk before a pod can start. See docs/decisions/0034-a-mount-says-that-a-volume-is-whole.md.

import (
	"context"
	"errors"
	"slices"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// made keeps in mind that a volume is ready. Only a raw device has no mount that would tell the next process: its record is written.
func (b *Backend) made(r record) error {
	if r.Block {
		return b.put(r)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ledger.records[r.Name] = r
	return nil
}

// findWhole looks for the volumes that an earlier process made in this boot and mounted. The others whose record says creating are worth nothing.
func (b *Backend) findWhole() error {
	var unsure []record
	for _, r := range b.ledger.records {
		if r.Phase == creating && r.Boot == b.boot && !r.Block {
			unsure = append(unsure, r)
		}
	}
	if len(unsure) == 0 {
		return nil
	}
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	for _, r := range unsure {
		if b.isWhole(table, r) {
			r.Phase = ready
			b.ledger.records[r.Name] = r
		}
	}
	return nil
}

// isWhole says whether a volume is mounted: at its path or, should that mount have been taken away below a pod, anywhere. None is mounted before it is made,
// and none is forgotten while it is mounted.
func (b *Backend) isWhole(table mountpoint.Table, r record) bool {
	d, err := b.diskOf(r)
	if err != nil {
		return false // nobody can tell; it can't be used either
	}
	at := d.Mounted(context.Background(), r.Name, r.Path)
	if at == nil || errors.Is(at, volume.ErrUnavailable) {
		return true
	}
	return slices.ContainsFunc(table.Paths(), func(path string) bool { return d.Mounted(context.Background(), r.Name, path) == nil })
}
