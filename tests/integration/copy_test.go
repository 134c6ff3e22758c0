package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/strata-csi/strata/tests/harness"
)

// TestCopies restores snapshots and clones volumes. The subtests run at once: most of their time is the manager's.
func TestCopies(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	root := ceph.RootMount(t)
	source := create(t, c, harness.Request("pvc-source", 64*mib, "team", "red", "maxFiles", "500"))
	fill(t, dataPath(root, source), 3)
	want := tree(t, dataPath(root, source))
	taken := snapshot(t, c, "source-1", source)

	t.Run("all", func(t *testing.T) {
		for _, tt := range []struct {
			name   string
			source any
			size   int64
			team   string
			got    int64
		}{
			{"a snapshot, same size", taken, 64 * mib, "red", 64 * mib},
			{"a snapshot, larger", taken, 128 * mib, "red", 128 * mib},
			{"a snapshot, any size", taken, 0, "red", 1024 * mib},
			{"a snapshot, for another team", taken, 64 * mib, "blue", 64 * mib},
			{"a volume, same size", source, 64 * mib, "red", 64 * mib},
			{"a volume, larger", source, 96 * mib, "red", 96 * mib},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				req := from(harness.Request("copy of "+tt.name, tt.size, "team", tt.team), tt.source)
				v := create(t, c, req)
				if v.GetCapacityBytes() != tt.got || !proto.Equal(v.GetContentSource(), req.GetVolumeContentSource()) {
					t.Errorf("got %v", v)
				}
				if again := create(t, c, req); !proto.Equal(again, v) {
					t.Errorf("the repeated request got %v, the first %v", again, v)
				}
				data := dataPath(root, v)
				wantTree(t, tree(t, data), want)
				if got := harness.Xattr(t, data, "ceph.quota.max_bytes"); got != fmt.Sprint(tt.got) {
					t.Errorf("quota %s", got)
				}
				group, name := place(v)
				wantOwnNamespace(t, ceph, root, v, "fsvolumens__"+group+"_"+name)
			})
		}
		t.Run("too small", func(t *testing.T) {
			t.Parallel()
			for _, s := range []any{taken, source} {
				_, err := c.CreateVolume(call(t), from(harness.Request("small", 32*mib), s))
				wantCode(t, err, codes.OutOfRange)
				limited := from(harness.Request("small", 0), s)
				limited.CapacityRange = &csi.CapacityRange{LimitBytes: 32 * mib}
				_, err = c.CreateVolume(call(t), limited)
				wantCode(t, err, codes.OutOfRange)
			}
		})
		t.Run("a source that isn't there", func(t *testing.T) {
			t.Parallel()
			for _, s := range []any{&csi.Snapshot{SnapshotId: taken.GetSnapshotId() + "x"}, &csi.Volume{VolumeId: source.GetVolumeId() + "x"}} {
				_, err := c.CreateVolume(call(t), from(harness.Request("none", 64*mib), s))
				wantCode(t, err, codes.NotFound)
			}
		})
	})
	if t.Failed() {
		return
	}

	t.Run("another source under the same name is refused", func(t *testing.T) {
		for _, other := range []any{source, nil} {
			_, err := c.CreateVolume(call(t), from(harness.Request("copy of a snapshot, same size", 64*mib, "team", "red"), other))
			wantCode(t, err, codes.AlreadyExists)
		}
	})
	t.Run("nothing is left of the making", func(t *testing.T) {
		group, name := place(source)
		if got := ceph.Snapshots(t, group, name); len(got) != 1 {
			t.Errorf("snapshots of the source: %v", got)
		}
		wantGroupsBare(t, ceph, root, c.Prefix)
		wantTree(t, tree(t, dataPath(root, source)), want)
	})
	volumes := listVolumes(t, c, &csi.ListVolumesRequest{}, nil)
	if len(volumes) != 7 {
		t.Errorf("%d volumes are listed", len(volumes))
	}
	remove(t, c, volumes...)
	unsnapshot(t, c, taken)
	wantNothingLeft(t, ceph, root, c.Prefix)
}

// wantOwnNamespace says that every object of a volume's files lies in its own RADOS namespace of the erasure-coded pool.
func wantOwnNamespace(t testing.TB, ceph *harness.Ceph, root string, v *csi.Volume, namespace string) {
	t.Helper()
	data := dataPath(root, v)
	for attr, want := range map[string]string{"ceph.dir.layout.pool": harness.ECPool, "ceph.dir.layout.pool_namespace": namespace} {
		if got := harness.Xattr(t, data, attr); got != want {
			t.Errorf("%s is %q, want %q", attr, got, want)
		}
	}
	objects := strings.Fields(ceph.Rados(t, "-p", harness.ECPool, "-N", namespace, "ls"))
	// Elsewhere, an object of the same inode would be one of another volume's, or of nobody's.
	everywhere := ceph.Rados(t, "-p", harness.ECPool, "--all", "ls")
	files := 0
	for _, path := range regularFiles(t, data) {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		if st.Size == 0 {
			continue
		}
		files++
		object := fmt.Sprintf("%x.00000000", st.Ino)
		if !slices.Contains(objects, object) {
			t.Errorf("%s (object %s) isn't in namespace %s", path, object, namespace)
		}
		if n := len(regexp.MustCompile(`(?m)\b`+object+`\b`).FindAllString(everywhere, -1)); n != 1 {
			t.Errorf("%s: %d objects %s in all namespaces", path, n, object)
		}
	}
	if files == 0 {
		t.Error("the volume has no file with data")
	}
}

func regularFiles(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	for rel, line := range tree(t, dir) {
		if strings.HasPrefix(line, "-") {
			out = append(out, filepath.Join(dir, rel))
		}
	}
	return out
}

// wantGroupsBare says that no team's directory has kept the layout that it lends to copies, and that the manager still knows them.
func wantGroupsBare(t testing.TB, ceph *harness.Ceph, root string, prefix harness.Prefix) {
	t.Helper()
	groups, err := filepath.Glob(filepath.Join(root, "volumes", string(prefix)+".*"))
	if err != nil || len(groups) == 0 {
		t.Fatalf("groups %v, %v", groups, err)
	}
	for _, g := range groups {
		if got := harness.Xattr(t, g, "ceph.dir.layout.pool_namespace"); got != "" {
			t.Errorf("%s has kept the RADOS namespace %s", g, got)
		}
		if _, err := ceph.Try("fs", "subvolumegroup", "info", harness.FS, filepath.Base(g)); err != nil {
			t.Error(err)
		}
	}
}

// slowSource is a volume that takes the manager some seconds to copy. Its files are holes, which are copied as zeros.
func slowSource(t testing.TB, c csi.ControllerClient, root string, size int64) *csi.Volume {
	t.Helper()
	v := create(t, c, harness.Request("pvc-slow", 2*size))
	for i := range int64(32) {
		path := filepath.Join(dataPath(root, v), fmt.Sprintf("hole%d", i))
		writeFile(t, path, []byte("begin"))
		if err := os.Truncate(path, size/32); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func TestRunningCopy(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{CopyWait: time.Millisecond})
	root := ceph.RootMount(t)
	source := slowSource(t, c, root, 192*mib)
	group, name := place(source)
	progress := regexp.MustCompile(`copying volume warm:\S+: .*(\d+ of \d+ bytes \(\d+%\)|\d+(\.\d+)?%)`)

	// begin starts a copy and waits until something of it is there.
	begin := func(t *testing.T, req *csi.CreateVolumeRequest) {
		harness.Eventually(t, "the copy runs", harness.Patience, func() error {
			_, err := c.CreateVolume(call(t), req)
			wantCode(t, err, codes.Aborted)
			if !progress.MatchString(fmt.Sprint(err)) {
				return fmt.Errorf("no progress in %w", err)
			}
			copied, err := filepath.Glob(filepath.Join(root, "volumes", group, req.GetName(), "*", "hole*"))
			if err == nil && len(copied) == 0 {
				err = fmt.Errorf("no file has been copied yet")
			}
			return err
		})
	}

	t.Run("deleting its volume cancels it", func(t *testing.T) {
		req := from(harness.Request("cancelled", 512*mib), source)
		begin(t, req)
		id := strings.Replace(source.GetVolumeId(), "pvc-slow", "cancelled", 1)
		_, err := c.ControllerGetVolume(call(t), &csi.ControllerGetVolumeRequest{VolumeId: id})
		wantCode(t, err, codes.Aborted)
		health, err := c.ControllerGetVolumeHealth(call(t), &csi.ControllerGetVolumeHealthRequest{VolumeId: id})
		if err != nil || len(health.GetVolumeHealth().GetHealthStatuses()) != 1 || health.GetVolumeHealth().GetHealthStatuses()[0].GetReason() != "Copying" {
			t.Errorf("health %v, %v", health, err)
		}
		for _, v := range listVolumes(t, c, &csi.ListVolumesRequest{}, nil) {
			if v.GetVolumeId() == id {
				t.Error("the unfinished volume is listed")
			}
		}
		for range 2 {
			if _, err := patiently(t, func() (*csi.DeleteVolumeResponse, error) {
				return c.DeleteVolume(call(t), &csi.DeleteVolumeRequest{VolumeId: id})
			}); err != nil {
				t.Fatal(err)
			}
		}
		if got := ceph.Subvolumes(t, c.Prefix); len(got) != 1 {
			t.Errorf("subvolumes %v, want the source's alone", got)
		}
		if got := ceph.Snapshots(t, group, name); len(got) > 0 {
			t.Errorf("snapshots of the source: %v", got)
		}
		wantGroupsBare(t, ceph, root, c.Prefix)
	})

	t.Run("a controller that is killed and started again finishes it", func(t *testing.T) {
		req := from(harness.Request("finished", 512*mib), source)
		begin(t, req)
		c.Kill()
		c.Start("")
		v := create(t, c, req)
		if v.GetCapacityBytes() != 512*mib {
			t.Errorf("capacity %d", v.GetCapacityBytes())
		}
		wantTree(t, tree(t, dataPath(root, v)), tree(t, dataPath(root, source)))
		if got := ceph.Snapshots(t, group, name); len(got) > 0 {
			t.Errorf("snapshots of the source: %v", got)
		}
		remove(t, c, v)
	})
	remove(t, c, source)
	wantNothingLeft(t, ceph, root, c.Prefix)
}
