// Package sides has what publishing a scratch volume is made of, for the benchmarks: the driver, by its CSI calls; its floor, the bare calls to
// the kernel and to mkfs that the driver of a kind can't do without; and what its records alone cost. It is built without cgo, as a part of it
// runs in an emulated machine.
package sides

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/strata-csi/strata/hack/bench/callers"
)

// Side makes and removes volumes; operation i has place i.
type Side interface {
	Publish(ctx context.Context, i int) error
	Unpublish(ctx context.Context, i int) error
	Close() error
}

// Measure publishes all volumes of a block, and then unpublishes them.
func Measure(ctx context.Context, s Side, at, count int) (made, gone callers.Sample, err error) {
	if made, err = callers.Together(ctx, at, count, s.Publish); err != nil {
		return made, gone, fmt.Errorf("publish: %w", err)
	}
	if gone, err = callers.Together(ctx, at, count, s.Unpublish); err != nil {
		return made, gone, fmt.Errorf("unpublish: %w", err)
	}
	return made, gone, nil
}

// BareTarget is where the bare volume of a place is mounted below dir.
func BareTarget(dir string, i int) string { return filepath.Join(dir, fmt.Sprint("pod-", i)) }

// bareTarget makes it too.
func bareTarget(dir string, i int) (string, error) {
	path := BareTarget(dir, i)
	return path, os.MkdirAll(path, 0o750)
}
