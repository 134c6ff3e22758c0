package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/tests/harness"
)

// cloneIndex is the manager's queue of copies, below a mount of the whole file system: a symbolic link for each copy that it has not
// done with.
const cloneIndex = "volumes/_index/clone"

// queued are the copies of a prefix's volumes that are in the manager's queue.
func queued(t testing.TB, root string, prefix harness.Prefix) (targets []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, cloneIndex))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(root, cloneIndex, e.Name()))
		if err == nil && strings.HasPrefix(to, "/volumes/"+string(prefix)+".") {
			targets = append(targets, to)
		}
	}
	return targets
}

// enqueue puts a link into the manager's queue that points at a volume's base directory, until dequeue is called.
func enqueue(t testing.TB, root, target string) (link string, dequeue func()) {
	t.Helper()
	path := filepath.Join(root, cloneIndex, fmt.Sprintf("%08x-0000-4000-8000-%012x", rand.Uint32(), rand.Uint64N(1<<48)))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
	dequeue = func() {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
	t.Cleanup(dequeue)
	return strings.TrimPrefix(path, root), dequeue
}

// TestQueuedCopyIsNotDeleted: the manager has yet to strike a copy off its queue.
func TestQueuedCopyIsNotDeleted(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	root := ceph.RootMount(t)
	source := create(t, c, harness.Request("pvc-source", 64*mib))
	copied := create(t, c, from(harness.Request("pvc-copy", 64*mib), source))
	group, name := place(copied)
	link, dequeue := enqueue(t, root, "/volumes/"+group+"/"+name)

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_, err := c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: copied.GetVolumeId()})
	wantCode(t, err, codes.Aborted)
	wantText(t, err, group+"/"+name, link)
	remove(t, c, source) // which never was a copy
	if got := ceph.Subvolumes(t, c.Prefix); len(got) != 1 {
		t.Errorf("subvolumes %v, want the copy's alone", got)
	}
	dequeue()
	remove(t, c, copied)
	wantNothingLeft(t, ceph, root, c.Prefix)
}

// TestStuckQueueIsExplained: another tool has removed a copy that was still in the queue. What is done here about it is what
// docs/operations.md says.
func TestStuckQueueIsExplained(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{CopyWait: time.Millisecond})
	root := ceph.RootMount(t)
	source := create(t, c, harness.Request("pvc-source", 64*mib))
	group, _ := place(source)
	link, dequeue := enqueue(t, root, "/volumes/"+group+"/gone")
	req := from(harness.Request("pvc-copy", 64*mib), source)
	_, err := c.CreateVolume(call(t), req)
	wantCode(t, err, codes.Aborted)
	wantText(t, err, "the queue is stuck at "+link, "/volumes/"+group+"/gone", "docs/operations.md")
	dequeue()
	remove(t, c, create(t, c, req), source)
	wantNothingLeft(t, ceph, root, c.Prefix)
}

// TestCopiesDeletedAtOnce deletes copies the moment they are ready, some before that, while the manager has much else to do. A copy
// that is removed before the manager has done with it would stay at the head of its queue, and no other would ever be made.
func TestCopiesDeletedAtOnce(t *testing.T) {
	const copiers, rounds, others = 6, 4, 3
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	root := ceph.RootMount(t)
	source := create(t, c, harness.Request("pvc-source", 64*mib))
	writeFile(t, filepath.Join(dataPath(root, source), "file"), []byte("content"))
	taken := snapshot(t, c, "taken", source)

	// The manager strikes a copy off its queue under the lock that every command takes: this is what makes the moment long.
	ctx, quiet := context.WithCancel(context.Background())
	var busy sync.WaitGroup
	defer busy.Wait()
	defer quiet()
	for i := range others {
		busy.Go(func() {
			for n := 0; ctx.Err() == nil && !t.Failed(); n++ {
				remove(t, c, create(t, c, harness.Request(fmt.Sprintf("pvc-busy-%d-%d", i, n), 64*mib)))
			}
		})
	}
	var copying sync.WaitGroup
	for i := range copiers {
		copying.Go(func() {
			for n := range rounds {
				if t.Failed() {
					return
				}
				req := harness.Request(fmt.Sprintf("pvc-copy-%d-%d", i, n), 64*mib)
				if n%2 == 0 {
					from(req, taken)
				} else {
					from(req, source)
				}
				v := &csi.Volume{VolumeId: strings.Replace(source.GetVolumeId(), "pvc-source", req.GetName(), 1)}
				if n%4 == 3 { // given up when it has begun
					harness.Eventually(t, req.GetName()+" is being copied", harness.Patience, func() error {
						short, cancel := context.WithTimeout(context.Background(), 2*time.Second)
						defer cancel()
						_, err := c.CreateVolume(short, req)
						if status.Code(err) == codes.Aborted && strings.Contains(err.Error(), "copying") {
							return nil
						}
						return err
					})
				} else {
					v = create(t, c, req)
				}
				if _, err := patiently(t, func() (*csi.DeleteVolumeResponse, error) {
					return c.DeleteVolume(call(t), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()})
				}); err != nil {
					t.Errorf("delete %s: %v", v.GetVolumeId(), err)
				}
			}
		})
	}
	copying.Wait()
	quiet()
	busy.Wait()
	if left := queued(t, root, c.Prefix); len(left) > 0 {
		t.Errorf("copies that were deleted are in the manager's queue: %v", left)
	}
	fresh := create(t, c, from(harness.Request("pvc-fresh", 64*mib), taken))
	wantTree(t, tree(t, dataPath(root, fresh)), tree(t, dataPath(root, source)))
	remove(t, c, fresh, source)
	unsnapshot(t, c, taken)
	wantNothingLeft(t, ceph, root, c.Prefix)
}
