package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/tests/harness"
)

const reader = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY

// TestTwoNodes: a volume on two nodes at once, through its whole life.
func TestTwoNodes(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	a, b := harness.NewNode(t, ceph, "node-a"), harness.NewNode(t, ceph, "node-b")
	root := ceph.RootMount(t)

	t.Run("eight writers read each other's data", func(t *testing.T) {
		v := create(t, c, harness.Request("shared", 1024*mib, "team", "red"))
		onA, onB := a.Mount(v, "shared", harness.RWX), b.Mount(v, "shared", harness.RWX)
		w := startWriters(t, onA, onB, onA, onB, onA, onB, onA, onB)
		harness.Eventually(t, "everybody writes", harness.Patience, func() error {
			if err := w.err(); err != nil {
				t.Fatal(err)
			}
			for i := range w.counts {
				if n := w.counts[i].Load(); n < 64 {
					return fmt.Errorf("writer %d has written %d records", i, n)
				}
			}
			return nil
		})
		w.stop(onA)
		w.check(onB)

		group, name := place(v)
		wantOwnNamespace(t, ceph, root, v, "fsvolumens__"+group+"_"+name)

		// Every pod goes, and comes again.
		a.Unmount(v, "shared")
		b.Unmount(v, "shared")
		for _, n := range []*harness.Node{a, b} {
			if left := n.Mounts(); len(left) > 0 {
				t.Errorf("%s: still mounted: %v", n.ID, left)
			}
			if left := n.Clients(); len(left) > 0 {
				t.Errorf("%s: still running: %v", n.ID, left)
			}
		}
		w.check(b.Mount(v, "shared", harness.RWX))
		b.Unmount(v, "shared")
		remove(t, c, v)
	})

	t.Run("the quota stops writers, and growing lifts it", func(t *testing.T) {
		v := create(t, c, harness.Request("small", 32*mib))
		onA, onB := a.Mount(v, "small", harness.RWX), b.Mount(v, "small", harness.RWX)
		wantStats(t, a, v, onA, 32*mib)
		f, err := os.Create(filepath.Join(onA, "full"))
		if err != nil {
			t.Fatal(err)
		}
		written, err := writeUntilError(f, 200*mib)
		_ = f.Close() // tells of the quota again
		if !errors.Is(err, unix.EDQUOT) {
			t.Errorf("after %d bytes: %v, want EDQUOT", written, err)
		}
		if written > 64*mib {
			t.Errorf("%d bytes went into a volume of %d", written, 32*mib)
		}
		harness.Eventually(t, "the other node is stopped too", harness.Patience, func() error {
			err := os.WriteFile(filepath.Join(onB, "more"), make([]byte, mib), 0o600)
			if !errors.Is(err, unix.EDQUOT) {
				return fmt.Errorf("got %w, want EDQUOT", errors.Join(err, errors.New("writing")))
			}
			return nil
		})
		if _, err := c.ControllerExpandVolume(call(t), &csi.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId(),
			CapacityRange: &csi.CapacityRange{RequiredBytes: 128 * mib}}); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{filepath.Join(onA, "after-a"), filepath.Join(onB, "after-b")} {
			harness.Eventually(t, "writing goes on", harness.Patience, func() error { return os.WriteFile(path, make([]byte, mib), 0o600) })
		}
		wantStats(t, b, v, onB, 128*mib)
		a.Unmount(v, "small")
		b.Unmount(v, "small")
		remove(t, c, v)
	})

	t.Run("the number of files is limited", func(t *testing.T) {
		v := create(t, c, harness.Request("files", 32*mib, "maxFiles", "20"))
		at := a.Mount(v, "files", harness.RWX)
		harness.Eventually(t, "one file is too many", harness.Patience, func() error {
			for i := range 40 {
				err := os.WriteFile(filepath.Join(at, fmt.Sprint(i)), nil, 0o600)
				if errors.Is(err, unix.EDQUOT) {
					return nil
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			return errors.New("forty files went in")
		})
		a.Unmount(v, "files")
		remove(t, c, v)
	})

	t.Run("a restored volume is the snapshot", func(t *testing.T) {
		v := create(t, c, harness.Request("origin", 64*mib))
		at := a.Mount(v, "origin", harness.RWX)
		fill(t, at, 6)
		want := tree(t, at)
		taken := snapshot(t, c, "taken", v)
		if err := os.RemoveAll(filepath.Join(at, "d2")); err != nil {
			t.Fatal(err)
		}
		fill(t, at, 7)

		restored := create(t, c, from(harness.Request("restored", 64*mib), taken))
		wantTree(t, tree(t, b.Mount(restored, "restored", harness.RWX)), want)
		b.Unmount(restored, "restored")

		view := create(t, c, readOnly(from(harness.Request("view", 0), taken)))
		for _, n := range []*harness.Node{a, b} {
			shown := n.Mount(view, "view", reader)
			wantTree(t, tree(t, shown), want)
			for what, err := range map[string]error{
				"create": os.WriteFile(filepath.Join(shown, "new"), nil, 0o600),
				"write":  os.WriteFile(filepath.Join(shown, "script"), []byte("x"), 0o600),
				"remove": os.Remove(filepath.Join(shown, "script")),
				"chmod":  os.Chmod(filepath.Join(shown, "script"), 0o777),
			} {
				if !errors.Is(err, unix.EROFS) {
					t.Errorf("%s: %s: %v, want EROFS", n.ID, what, err)
				}
			}
		}
		// The volume that the snapshot was taken of goes; what shows the snapshot stays.
		a.Unmount(v, "origin")
		remove(t, c, v)
		wantTree(t, tree(t, a.Target("view")), want)
		a.Unmount(view, "view")
		wantTree(t, tree(t, a.Mount(view, "view", reader)), want)
		a.Unmount(view, "view")
		b.Unmount(view, "view")
		remove(t, c, view, restored)
		unsnapshot(t, c, taken)
	})

	t.Run("a pod that may only read can't write", func(t *testing.T) {
		v := create(t, c, harness.Request("both", 32*mib))
		rw := a.Mount(v, "both", harness.RWX)
		if err := a.Publish(call(t), v, "both", "both-ro", harness.RWX, true); err != nil {
			t.Fatal(err)
		}
		ro := a.Target("both-ro")
		if err := os.WriteFile(filepath.Join(ro, "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("got %v, want EROFS", err)
		}
		writeFile(t, filepath.Join(rw, "x"), []byte("written beside it"))
		if got, err := os.ReadFile(filepath.Join(ro, "x")); err != nil || string(got) != "written beside it" {
			t.Errorf("read %q, %v", got, err)
		}
		// The same path for something else is refused, not mounted over.
		wantCode(t, a.Publish(call(t), v, "both", "both-ro", harness.RWX, false), codes.AlreadyExists)
		if _, err := a.NodeUnpublishVolume(call(t), &csi.NodeUnpublishVolumeRequest{VolumeId: v.GetVolumeId(), TargetPath: ro}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(ro); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the target path is still there: %v", err)
		}
		a.Unmount(v, "both")
		remove(t, c, v)
	})

	t.Run("a single writer is single", func(t *testing.T) {
		const single = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
		req := harness.Request("single", 32*mib)
		req.VolumeCapabilities = harness.Capabilities(single)
		v := create(t, c, req)
		a.Mount(v, "single", single)
		wantCode(t, a.Publish(call(t), v, "single", "second", single, false), codes.FailedPrecondition)
		a.Unmount(v, "single")
		remove(t, c, v)
	})

	t.Run("ten identical calls at once mount once", func(t *testing.T) {
		v := create(t, c, harness.Request("ten", 32*mib))
		none := &csi.NodeStageVolumeResponse{}
		for range 2 {
			tenAtOnce(t, "stage", func() (*csi.NodeStageVolumeResponse, error) { return none, a.Stage(call(t), v, "ten", harness.RWX) })
			tenAtOnce(t, "publish", func() (*csi.NodeStageVolumeResponse, error) {
				return none, a.Publish(call(t), v, "ten", "ten", harness.RWX, false)
			})
		}
		for _, path := range []string{a.Staging("ten"), a.Target("ten")} {
			if m, ok, err := mountpoint.Find(path); err != nil || !ok || m.Stacked != 1 {
				t.Errorf("%s: %+v, %v, %v", path, m, ok, err)
			}
		}
		if got := a.Clients(); len(got) != 1 {
			t.Errorf("clients: %v", got)
		}
		tenAtOnce(t, "stats", func() (*csi.NodeGetVolumeHealthResponse, error) {
			return a.NodeGetVolumeHealth(call(t), &csi.NodeGetVolumeHealthRequest{VolumeId: v.GetVolumeId(), VolumePublishPath: a.Target("ten")})
		})
		tenAtOnce(t, "unpublish", func() (*csi.NodeUnpublishVolumeResponse, error) {
			return a.NodeUnpublishVolume(call(t), &csi.NodeUnpublishVolumeRequest{VolumeId: v.GetVolumeId(), TargetPath: a.Target("ten")})
		})
		tenAtOnce(t, "unstage", func() (*csi.NodeUnstageVolumeResponse, error) {
			return a.NodeUnstageVolume(call(t), &csi.NodeUnstageVolumeRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: a.Staging("ten")})
		})
		remove(t, c, v)
	})
	for _, n := range []*harness.Node{a, b} {
		if left := n.Mounts(); len(left) > 0 {
			t.Errorf("%s: still mounted: %v", n.ID, left)
		}
	}
	wantNothingLeft(t, ceph, root, c.Prefix)
}

// writeUntilError writes at most limit bytes and syncs as it goes; clients check a quota before each write.
func writeUntilError(f *os.File, limit int64) (int64, error) {
	buf := make([]byte, mib)
	var written int64
	for written < limit {
		n, err := f.Write(buf)
		written += int64(n)
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// wantStats says that a volume shows its quota as its size.
func wantStats(t testing.TB, n *harness.Node, v *csi.Volume, path string, size int64) {
	t.Helper()
	harness.Eventually(t, "the size is the quota", harness.Patience, func() error {
		resp, err := n.NodeGetVolumeStats(call(t), &csi.NodeGetVolumeStatsRequest{VolumeId: v.GetVolumeId(), VolumePath: path})
		if err != nil {
			return err
		}
		var st syscall.Statfs_t
		if err := syscall.Statfs(path, &st); err != nil {
			return err
		}
		for _, u := range resp.GetUsage() {
			if u.GetUnit() == csi.VolumeUsage_BYTES && u.GetTotal() == size && u.GetUsed()+u.GetAvailable() >= size && int64(st.Blocks)*st.Bsize == size {
				return nil
			}
		}
		return fmt.Errorf("usage %v, statfs %d, want %d", resp.GetUsage(), int64(st.Blocks)*st.Bsize, size)
	})
}
