package sides

// The driver's own side.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/hack/stack"
	"github.com/strata-csi/strata/pkg/journal"
)

// Driver is volumes of pods on a node of Strata.
type Driver struct {
	Node *stack.ScratchNode
	Size string // of every volume, a Kubernetes quantity
	// Repeated counts the calls that were answered Unavailable or DeadlineExceeded.
	Repeated atomic.Int64
}

var _ Side = (*Driver)(nil)

// Pod is the name of the pod of a place.
func Pod(i int) string { return fmt.Sprint("pod-", i) }

// Publish is a pod's start.
func (d *Driver) Publish(ctx context.Context, i int) error {
	return d.again(ctx, func() error { return d.Node.PublishInline(ctx, Pod(i), d.Size) })
}

// Unpublish is its end.
func (d *Driver) Unpublish(ctx context.Context, i int) error {
	return d.again(ctx, func() error { return d.Node.UnpublishInline(ctx, Pod(i)) })
}

// mostRepeats is after how many answers that ask for another call a node is taken as broken.
const mostRepeats = 100

// again repeats a call that didn't find the time, or was answered Unavailable, as kubelet does, and counts it: what a pod waits includes that.
func (d *Driver) again(ctx context.Context, call func() error) error {
	for range mostRepeats {
		err := call()
		if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded || ctx.Err() != nil {
			return err
		}
		d.Repeated.Add(1)
	}
	return call()
}

// Close has nothing to end; the node goes on.
func (d *Driver) Close() error { return nil }

// Records is what the driver's journal costs without a volume: a record before it makes one; another, and the end of it, while it takes one away. Each
// is on the disk before it goes on.
type Records struct{ journal *journal.Journal }

var _ Side = (*Records)(nil)

// NewRecords opens a journal of its own in dir.
func NewRecords(dir string) (*Records, error) {
	j, err := journal.Open(dir)
	if err != nil {
		return nil, err
	}
	return &Records{j}, nil
}

// aRecord is as long as the driver's.
var aRecord = strings.Repeat("x", 500)

// Publish writes one.
func (r *Records) Publish(_ context.Context, i int) error {
	return r.journal.Put(fmt.Sprint("volume-", i), aRecord)
}

// Unpublish writes another and ends it.
func (r *Records) Unpublish(_ context.Context, i int) error {
	key := fmt.Sprint("volume-", i)
	return errors.Join(r.journal.Put(key, aRecord), r.journal.Delete(key))
}

// Close closes the journal.
func (r *Records) Close() error { return r.journal.Close() }
