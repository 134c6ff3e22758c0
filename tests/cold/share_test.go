package cold

// What users do: share files between nodes, read only, fill a quota.

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/strata-csi/strata/tests/harness"
)

func TestTwoNodesAndAnotherToolShareFiles(t *testing.T) {
	f := newFixture(t)
	v := f.volume("pvc-shared", 64*mib)
	onA, onB := f.a.Mount(v, "vol", harness.RWX), f.b.Mount(v, "vol", harness.RWX)
	must(t, os.Mkdir(filepath.Join(onA, "run"), 0o755))
	checkpoint := strings.Repeat("weights ", 3<<17) // 3 MiB
	write(t, filepath.Join(onA, "run", "checkpoint.pt"), checkpoint)
	wantContent(t, filepath.Join(onB, "run", "checkpoint.pt"), checkpoint)
	if got := f.object(v, "run/checkpoint.pt"); got != checkpoint {
		t.Errorf("DATA MISMATCH: another S3 tool sees %q", shorten(got))
	}
	// And back, over the same name.
	write(t, filepath.Join(onB, "run", "checkpoint.pt"), "smaller")
	harness.Eventually(t, "the first node sees the new file", harness.Patience, func() error {
		got, err := os.ReadFile(filepath.Join(onA, "run", "checkpoint.pt"))
		if err == nil && string(got) != "smaller" {
			err = errors.New("it is the old one still")
		}
		return err
	})
	stats, err := f.a.NodeGetVolumeStats(call(t), &csi.NodeGetVolumeStatsRequest{VolumeId: v.GetVolumeId(), VolumePath: f.a.Target("vol")})
	must(t, err)
	if u := stats.GetUsage()[0]; u.GetTotal() != 64*mib {
		t.Errorf("the volume has %v", u)
	}
	if got := reasons(t, f.a, v, "vol"); len(got) > 0 {
		t.Errorf("volume health says %v", got)
	}
	for _, n := range []*harness.Node{f.a, f.b} {
		n.Unmount(v, "vol")
		nothingLeft(t, n)
	}
	f.remove(v)
}

func TestWhatIsOnlyReadCannotBeWritten(t *testing.T) {
	f := newFixture(t)
	v := f.volume("pvc-read", mib)
	onA := f.a.Mount(v, "vol", harness.RWX)
	write(t, filepath.Join(onA, "data"), "of a dataset")
	refused := func(what, dir string) {
		t.Helper()
		wantContent(t, filepath.Join(dir, "data"), "of a dataset")
		for name, err := range map[string]error{
			"create": os.WriteFile(filepath.Join(dir, "new"), nil, 0o644),
			"remove": os.Remove(filepath.Join(dir, "data")),
			"mkdir":  os.Mkdir(filepath.Join(dir, "dir"), 0o755),
		} {
			if !errors.Is(err, syscall.EROFS) {
				t.Errorf("%s: %s: %v", what, name, err)
			}
		}
	}
	must(t, f.a.Publish(call(t), v, "vol", "reader", harness.RWX, true))
	refused("a pod that only reads", f.a.Target("reader"))
	unpublish(t, f.a, v, "reader")
	refused("an access mode that only reads", f.b.Mount(v, "vol", reader))
	// The engine itself knows: what is mounted for reading alone can't be written by its owner either.
	if err := os.WriteFile(filepath.Join(f.b.Staging("vol"), "new"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("the staging path: %v", err)
	}
	for _, n := range []*harness.Node{f.a, f.b} {
		n.Unmount(v, "vol")
		nothingLeft(t, n)
	}
}

func TestAQuotaIsEnforcedWhereTheClassSaysSo(t *testing.T) {
	f := newFixture(t)
	v := f.volume("pvc-quota", 4*mib, "enforceQuota", "true")
	on := f.a.Mount(v, "vol", harness.RWX)
	quota := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, syscall.EDQUOT) {
			t.Errorf("%s: %v", what, err)
		}
	}
	quota("one file of more than the volume may hold", os.WriteFile(filepath.Join(on, "large"), make([]byte, 9*mib), 0o644))
	must(t, os.Remove(filepath.Join(on, "large")))
	write(t, filepath.Join(on, "first"), strings.Repeat("x", int(4*mib)))
	quota("one more", os.WriteFile(filepath.Join(on, "second"), make([]byte, mib), 0o644))
	wantContent(t, filepath.Join(on, "first"), strings.Repeat("x", int(4*mib)))
	// An engine lists the volume, and reads its size, when it begins, and again after a pause that is too long for a test; pkg/coldfs has a shorter one.
	f.a.Unmount(v, "vol")
	f.a.Mount(v, "vol", harness.RWX)
	eventuallyReasons(t, f.a, v, "vol", "QuotaExceeded")
	_, err := f.ControllerExpandVolume(call(t), &csi.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId(), Secrets: f.Secrets,
		CapacityRange: &csi.CapacityRange{RequiredBytes: 16 * mib}, VolumeCapability: harness.Capability(harness.RWX)})
	must(t, err)
	f.a.Unmount(v, "vol")
	f.a.Mount(v, "vol", harness.RWX)
	harness.Eventually(t, "the engine knows the new size", harness.Patience, func() error {
		return os.WriteFile(filepath.Join(on, "second"), make([]byte, mib), 0o644)
	})
	eventuallyReasons(t, f.a, v, "vol")
	f.a.Unmount(v, "vol")
	nothingLeft(t, f.a)
	f.remove(v)
}

func TestWhatIsDirtyWhenAVolumeIsUnstagedIsInTheStore(t *testing.T) {
	f := newFixture(t)
	v := f.volume("pvc-dirty", 64*mib)
	on := f.a.Mount(v, "vol", harness.RWX)
	path := filepath.Join(on, "mapped")
	content := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	write(t, path, strings.Repeat("-", len(content)))
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	mapped, err := unix.Mmap(int(file.Fd()), 0, len(content), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	must(t, file.Close()) // nothing has been written yet
	copy(mapped, content)
	must(t, unix.Munmap(mapped)) // and nobody syncs it
	f.a.Unmount(v, "vol")
	if got := f.object(v, "mapped"); got != content {
		t.Errorf("DATA MISMATCH: the object has %q", shorten(got))
	}
	nothingLeft(t, f.a)
}

func TestAVolumeMadeByHandShowsABucket(t *testing.T) {
	f := newFixture(t)
	must(t, os.MkdirAll(filepath.Join(f.server.Dir, "team", "datasets"), 0o755))
	tool := f.volume("pvc-tool", mib)
	on := f.a.Mount(tool, "tool", harness.RWX)
	write(t, filepath.Join(on, "x"), "by a volume")
	v := &csi.Volume{VolumeId: "cold:dataset", VolumeContext: map[string]string{"endpoint": f.server.Endpoint, "bucket": "team", "readOnly": "true", "immutable": "true"}}
	all := f.b.Mount(v, "dataset", reader)
	prefix := tool.GetVolumeContext()["prefix"]
	wantContent(t, filepath.Join(all, prefix, "x"), "by a volume")
	bad := &csi.Volume{VolumeId: "cold:dataset", VolumeContext: map[string]string{"endpoint": f.server.Endpoint, "bucket": "team", "prefx": "a/"}}
	wantCode(t, f.a.Stage(call(t), bad, "bad", reader), codes.InvalidArgument, "prefx", "prefix")
	f.b.Unmount(v, "dataset")
	f.a.Unmount(tool, "tool")
	nothingLeft(t, f.a)
	nothingLeft(t, f.b)
}
