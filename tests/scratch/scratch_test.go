// Package scratch runs strata-node with tier scratch on real disks, one file system and loop device each, as kubelet would drive it:
// pods come and go, processes are killed at every step, the machine starts anew, and in the end nothing may be left.
package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/tests/harness"
)

const mib = int64(1) << 20

// kinds are the backends that run on this machine's kernel; tests/kernel runs the others.
var kinds = []string{"loop", "btrfs"}

func forEachKind(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // each has its own node and disks, and waits for them most of the time
			test(t, kind)
		})
	}
}

func call(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func wantCode(t *testing.T, err error, code codes.Code, words ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q doesn't say %q", err, w)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func nothingLeft(t *testing.T, n *harness.ScratchNode) {
	t.Helper()
	if left := n.Left(); len(left) > 0 {
		t.Errorf("left over:\n%s", strings.Join(left, "\n"))
	}
}

func publish(t *testing.T, n *harness.ScratchNode, r *csi.NodePublishVolumeRequest) {
	t.Helper()
	_, err := n.NodePublishVolume(call(t), r)
	must(t, err)
}

// fill writes until the volume is full and returns how much went in.
func fill(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Create(filepath.Join(path, "fill"))
	must(t, err)
	defer f.Close()
	block := make([]byte, mib)
	var written int64
	for {
		n, err := f.Write(block)
		written += int64(n)
		if err == nil {
			err = f.Sync()
		}
		switch {
		case err == nil:
		case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
			return written
		default:
			t.Fatal(err)
		}
	}
}

// wantGroup makes a directory and wants the group to have it.
func wantGroup(t *testing.T, volume string, group uint32) {
	t.Helper()
	path := filepath.Join(volume, "made")
	must(t, os.MkdirAll(path, 0o700))
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	if st.Gid != group {
		t.Errorf("what is made in the volume belongs to group %d, want %d", st.Gid, group)
	}
	must(t, os.Remove(path))
}

func TestInline(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: kind})
		r := n.InlineRequest("uid-1", "tmp", "size", "200Mi")
		r.VolumeCapability.GetMount().VolumeMountGroup = "2000"
		publish(t, n, r)
		publish(t, n, r)
		neighbour := n.InlineRequest("uid-2", "tmp", "size", "64Mi")
		publish(t, n, neighbour)

		t.Run("anybody in the pod may write", func(t *testing.T) {
			fi, err := os.Stat(r.GetTargetPath())
			must(t, err)
			if fi.Mode().Perm() != 0o777 {
				t.Errorf("mode %v", fi.Mode())
			}
		})
		t.Run("what is made in it is its group's", func(t *testing.T) { wantGroup(t, r.GetTargetPath(), 2000) })
		t.Run("it holds what was asked for, and no more", func(t *testing.T) {
			got := fill(t, r.GetTargetPath())
			if got < 150*mib || got > 200*mib {
				t.Errorf("%d MiB fit into 200 MiB", got/mib)
			}
			must(t, os.WriteFile(filepath.Join(neighbour.GetTargetPath(), "x"), make([]byte, 40*mib), 0o600))
			must(t, os.Remove(filepath.Join(r.GetTargetPath(), "fill")))
		})
		t.Run("its statistics are its own", func(t *testing.T) {
			must(t, os.WriteFile(filepath.Join(r.GetTargetPath(), "x"), make([]byte, 10*mib), 0o600))
			unix.Sync()
			s, err := n.NodeGetVolumeStats(call(t), &csi.NodeGetVolumeStatsRequest{VolumeId: r.GetVolumeId(), VolumePath: r.GetTargetPath()})
			must(t, err)
			for _, u := range s.GetUsage() {
				if u.GetUnit() == csi.VolumeUsage_BYTES && (u.GetTotal() < 170*mib || u.GetTotal() > 200*mib || u.GetUsed() < 10*mib || u.GetUsed() > 30*mib) {
					t.Errorf("%v", u)
				}
			}
			h, err := n.NodeGetVolumeHealth(call(t), &csi.NodeGetVolumeHealthRequest{VolumeId: r.GetVolumeId(), VolumePublishPath: r.GetTargetPath()})
			must(t, err)
			if len(h.GetVolumeHealth().GetHealthStatuses()) != 0 {
				t.Errorf("%v", h)
			}
		})
		t.Run("beneath it nobody can write", func(t *testing.T) {
			n.LoseMounts()
			fi, err := os.Lstat(r.GetTargetPath())
			must(t, err)
			if fi.Mode().Perm() != 0 {
				t.Errorf("mode %v", fi.Mode())
			}
			h, err := n.NodeGetVolumeHealth(call(t), &csi.NodeGetVolumeHealthRequest{VolumeId: r.GetVolumeId(), VolumePublishPath: r.GetTargetPath()})
			must(t, err)
			if !slices.ContainsFunc(h.GetVolumeHealth().GetHealthStatuses(), func(s *csi.VolumeHealth_VolumeHealthEntry) bool { return s.GetReason() == "NotMounted" }) {
				t.Errorf("%v", h)
			}
			publish(t, n, r)
			publish(t, n, neighbour)
			wantGroup(t, r.GetTargetPath(), 2000)
			wantGroup(t, neighbour.GetTargetPath(), 0)
		})
		must(t, n.Unpublish(call(t), r.GetVolumeId(), r.GetTargetPath()))
		must(t, n.Unpublish(call(t), r.GetVolumeId(), r.GetTargetPath()))
		must(t, n.Unpublish(call(t), neighbour.GetVolumeId(), neighbour.GetTargetPath()))
		nothingLeft(t, n)
	})
}

func TestRefusals(t *testing.T) {
	n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: "loop", Config: "maxPerPod: 300Mi\nmaxPerNode: 600Mi\n"})
	good := func(attributes ...string) *csi.NodePublishVolumeRequest {
		return n.InlineRequest("uid-1", "tmp", attributes...)
	}
	changed := func(change func(*csi.NodePublishVolumeRequest)) *csi.NodePublishVolumeRequest {
		r := good("size", "64Mi")
		change(r)
		return r
	}
	for name, c := range map[string]struct {
		request *csi.NodePublishVolumeRequest
		code    codes.Code
		words   []string
	}{
		"an unknown attribute": {good("sizes", "1Gi"), codes.InvalidArgument, []string{"sizes", "size", "class"}},
		"an unknown class":     {good("class", "fast"), codes.InvalidArgument, []string{"fast", "default"}},
		"an unknown unit":      {good("size", "64MB"), codes.InvalidArgument, []string{"64MB"}},
		"a path":               {good("path", "/etc"), codes.InvalidArgument, []string{"path"}},
		"a size above the cap": {good("size", "2Gi"), codes.InvalidArgument, []string{"2Gi", "1Gi"}},
		"a size of nothing":    {good("size", "0"), codes.InvalidArgument, []string{"size"}},
		"more than a pod may":  {good("size", "400Mi"), codes.InvalidArgument, []string{"300Mi"}},
		"another's id": {changed(func(r *csi.NodePublishVolumeRequest) { r.VolumeId = harness.InlineID("uid-2", "tmp") }),
			codes.InvalidArgument, []string{"id"}},
		"no pod": {changed(func(r *csi.NodePublishVolumeRequest) { delete(r.VolumeContext, "csi.storage.k8s.io/pod.uid") }),
			codes.FailedPrecondition, []string{"podInfoOnMount"}},
		"a mount option": {changed(func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability.GetMount().MountFlags = []string{"dev"}
		}), codes.InvalidArgument, []string{"dev"}},
		"another file system": {changed(func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability.GetMount().FsType = "ntfs" }),
			codes.InvalidArgument, []string{"ntfs"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := n.NodePublishVolume(call(t), c.request)
			wantCode(t, err, c.code, c.words...)
			if _, err := os.Lstat(c.request.GetTargetPath()); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the target is left: %v", err)
			}
		})
	}
	t.Run("more than the node may", func(t *testing.T) {
		for i := range 3 {
			publish(t, n, n.InlineRequest(fmt.Sprint("uid-full-", i), "tmp", "size", "200Mi"))
		}
		_, err := n.NodePublishVolume(call(t), good("size", "64Mi"))
		wantCode(t, err, codes.ResourceExhausted, "64Mi", "0 bytes", "600Mi")
		for i := range 3 {
			uid := fmt.Sprint("uid-full-", i)
			must(t, n.Unpublish(call(t), harness.InlineID(uid, "tmp"), n.Target(uid, "tmp")))
		}
	})
	nothingLeft(t, n)
}

func TestConcurrentRequestsNeverOvercommit(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: kind, Disks: 2, DiskSize: 1024 * mib})
		var made atomic.Int64
		var all sync.WaitGroup
		ids := make([]*csi.NodePublishVolumeRequest, 24)
		for i := range ids {
			ids[i] = n.InlineRequest(fmt.Sprint("uid-", i), "tmp", "size", "100Mi")
			all.Go(func() {
				_, err := n.NodePublishVolume(call(t), ids[i])
				switch status.Code(err) {
				case codes.OK:
					made.Add(1)
				case codes.ResourceExhausted:
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := made.Load(); got < 6 || got > 20 {
			t.Errorf("%d volumes of 100 MiB on two disks of 1 GiB", got)
		}
		for _, r := range ids {
			must(t, n.Unpublish(call(t), r.GetVolumeId(), r.GetTargetPath()))
		}
		nothingLeft(t, n)
	})
}

func TestClaims(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: kind})
		r := n.StageRequest("grows", "claim", 300*mib)
		r.VolumeCapability.GetMount().VolumeMountGroup = "2000"
		stage := func() {
			t.Helper()
			_, err := n.NodeStageVolume(call(t), r)
			must(t, err)
		}
		stage()
		target := n.Target("uid-1", "claim")
		must(t, os.MkdirAll(filepath.Dir(target), 0o750))
		_, err := n.NodePublishVolume(call(t), &csi.NodePublishVolumeRequest{VolumeId: r.GetVolumeId(), StagingTargetPath: r.GetStagingTargetPath(),
			TargetPath: target, VolumeCapability: r.GetVolumeCapability(), VolumeContext: r.GetVolumeContext()})
		must(t, err)
		wantGroup(t, target, 2000)
		before := fill(t, target)
		must(t, os.Remove(filepath.Join(target, "fill")))
		must(t, os.WriteFile(filepath.Join(target, "kept"), []byte("data"), 0o600))
		e, err := n.NodeExpandVolume(call(t), &csi.NodeExpandVolumeRequest{VolumeId: r.GetVolumeId(), VolumePath: target,
			StagingTargetPath: r.GetStagingTargetPath(), CapacityRange: &csi.CapacityRange{RequiredBytes: 600 * mib}})
		must(t, err)
		if e.GetCapacityBytes() != 600*mib {
			t.Errorf("%v", e)
		}
		if got := fill(t, target); got < before+250*mib {
			t.Errorf("%d MiB fit after growing, %d before", got/mib, before/mib)
		}
		if data, err := os.ReadFile(filepath.Join(target, "kept")); string(data) != "data" {
			t.Errorf("%q, %v", data, err)
		}
		n.Kill()
		n.Start("")
		must(t, n.Unpublish(call(t), r.GetVolumeId(), target))
		must(t, n.Unstage(call(t), "grows", "claim"))
		stage()
		if entries, err := os.ReadDir(r.GetStagingTargetPath()); err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "lost+found" {
			t.Errorf("not empty when it is staged anew: %v, %v", entries, err)
		}
		if got := fill(t, r.GetStagingTargetPath()); got < before+250*mib {
			t.Errorf("%d MiB fit when it is staged anew: the growth is forgotten", got/mib)
		}
		must(t, n.Unstage(call(t), "grows", "claim"))
		left := n.Left()
		if len(left) != 1 || !strings.Contains(left[0], "record grown-") {
			t.Errorf("left over beyond the record of the growth: %v", left)
		}
	})
}

func TestTheNextTenantReadsZeros(t *testing.T) {
	n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: "loop", DiskSize: 400 * mib})
	block := func(name string) (device string, done func()) {
		r := n.StageRequest("default", name, 300*mib)
		r.VolumeCapability = &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
			AccessMode: r.VolumeCapability.AccessMode}
		_, err := n.NodeStageVolume(call(t), r)
		must(t, err)
		target := n.Target("uid-"+name, name)
		must(t, os.MkdirAll(filepath.Dir(target), 0o750))
		_, err = n.NodePublishVolume(call(t), &csi.NodePublishVolumeRequest{VolumeId: r.GetVolumeId(), StagingTargetPath: r.GetStagingTargetPath(),
			TargetPath: target, VolumeCapability: r.GetVolumeCapability(), VolumeContext: r.GetVolumeContext()})
		must(t, err)
		return target, func() {
			must(t, n.Unpublish(call(t), r.GetVolumeId(), target))
			must(t, n.Unstage(call(t), "default", name))
		}
	}
	device, done := block("first")
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	must(t, err)
	pattern := []byte(strings.Repeat("secret of the first tenant ", 1<<20/27+1))[:mib]
	for range 300 {
		if _, err := f.Write(pattern); err != nil {
			t.Fatal(err)
		}
	}
	must(t, f.Sync())
	must(t, f.Close())
	done()
	device, done = block("second")
	f, err = os.Open(device)
	must(t, err)
	buf, zeros := make([]byte, mib), make([]byte, mib)
	for i := range 300 {
		if _, err := f.Read(buf); err != nil {
			t.Fatal(err)
		}
		if string(buf) != string(zeros) {
			t.Fatalf("MiB %d isn't zeros", i)
		}
	}
	must(t, f.Close())
	done()
	nothingLeft(t, n)
}

func TestASecondNodeOnTheSameStateIsRefused(t *testing.T) {
	n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: "loop"})
	log, err := n.Second()
	if err == nil || !strings.Contains(log, n.StateDir()) {
		t.Errorf("ended with %v:\n%s", err, log)
	}
	publish(t, n, n.InlineRequest("uid-1", "tmp")) // the first one works on
	must(t, n.Unpublish(call(t), harness.InlineID("uid-1", "tmp"), n.Target("uid-1", "tmp")))
	nothingLeft(t, n)
}
