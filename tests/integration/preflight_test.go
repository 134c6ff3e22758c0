package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/tests/harness"
)

// TestPreflight: a cluster that can't serve a class is told apart from a wrong request, with the command that mends it.
func TestPreflight(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	pool := func(name string, kind ...string) {
		t.Helper()
		ceph.Run(t, append([]string{"osd", "pool", "create", name, "4", "4"}, kind...)...)
		t.Cleanup(func() { ceph.Run(t, "osd", "pool", "rm", name, name, "--yes-i-really-really-mean-it") })
	}
	id := string(c.Prefix)
	pool(id + "-spare")
	pool(id+"-plain-ec", "erasure")
	refused := func(t *testing.T, parameters []string, words ...string) {
		t.Helper()
		for _, do := range []func() error{
			func() error {
				_, err := c.CreateVolume(call(t), harness.Request("v", 8*mib, parameters...))
				return err
			},
			func() error {
				_, err := c.GetCapacity(call(t), &csi.GetCapacityRequest{Parameters: harness.Parameters(parameters...)})
				return err
			},
		} {
			err := do()
			wantCode(t, err, codes.FailedPrecondition)
			wantText(t, err, words...)
		}
	}

	t.Run("a pool that isn't there", func(t *testing.T) {
		refused(t, []string{"pool", "nowhere"}, `"nowhere"`, "`ceph osd pool create nowhere`", harness.ECPool)
	})
	t.Run("a pool of something else", func(t *testing.T) {
		refused(t, []string{"pool", id + "-spare"}, fmt.Sprintf("`ceph fs add_data_pool %s %s-spare`", harness.FS, id), harness.ECPool)
	})
	t.Run("an erasure-coded pool without overwrites", func(t *testing.T) {
		refused(t, []string{"pool", id + "-plain-ec"}, fmt.Sprintf("`ceph osd pool set %s-plain-ec allow_ec_overwrites true`", id))
	})
	t.Run("a file system that isn't there", func(t *testing.T) {
		refused(t, []string{"fsName", "nofs"}, `"nofs"`, harness.FS, "`ceph fs new nofs")
	})

	t.Run("a second file system", func(t *testing.T) {
		ceph.Run(t, "fs", "flag", "set", "enable_multiple", "true")
		fs := id
		pool(fs + "-meta")
		pool(fs+"-first", "erasure")
		ceph.Run(t, "osd", "pool", "set", fs+"-first", "allow_ec_overwrites", "true")
		ceph.Run(t, "fs", "new", fs, fs+"-meta", fs+"-first", "--force")
		t.Cleanup(func() {
			ceph.Run(t, "fs", "fail", fs)
			ceph.Run(t, "fs", "rm", fs, "--yes-i-really-mean-it")
			wantStandby(t, ceph)
		})
		harness.Eventually(t, "the file system has a metadata server", harness.Patience, func() error { return activeMDS(t, ceph, fs) })

		t.Run("whose first data pool is erasure-coded", func(t *testing.T) {
			refused(t, []string{"fsName", fs, "pool", fs + "-first"}, fs+"-first", "replicated", "`ceph fs new")
		})
		t.Run("needs a class to say which", func(t *testing.T) {
			req := harness.Request("v", 8*mib)
			delete(req.Parameters, "fsName")
			_, err := c.CreateVolume(call(t), req)
			wantCode(t, err, codes.InvalidArgument)
			wantText(t, err, "fsName", harness.FS, fs)
		})
		t.Run("without an active metadata server", func(t *testing.T) {
			ceph.Run(t, "fs", "fail", fs)
			// What the controller has seen less than a second ago still holds.
			harness.Eventually(t, "the controller sees it", harness.Patience, func() error {
				_, err := c.CreateVolume(call(t), harness.Request("v", 8*mib, "fsName", fs, "pool", fs+"-first"))
				if !strings.Contains(status.Convert(err).Message(), "no active MDS") {
					return fmt.Errorf("the answer is %w", err)
				}
				return nil
			})
			refused(t, []string{"fsName", fs, "pool", fs + "-first"}, fs, fmt.Sprintf("`ceph fs status %s`", fs))
			// The others are served all the same. A list that leaves out what can't be read would say that it is gone.
			remove(t, c, create(t, c, harness.Request("beside", 8*mib)))
			_, err := c.ListVolumes(call(t), &csi.ListVolumesRequest{})
			wantCode(t, err, codes.Unavailable)
			wantText(t, err, fmt.Sprintf("`ceph fs status %s`", fs))
		})
	})
	if left := ceph.Subvolumes(t, c.Prefix); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// fsMap is the part of `ceph fs dump` that says who serves what.
type fsMap struct {
	Standbys    []struct{ Name string }
	Filesystems []struct {
		Map struct {
			Name string `json:"fs_name"`
			Info map[string]struct{ State, Name string }
		} `json:"mdsmap"`
	}
}

func activeMDS(t testing.TB, ceph *harness.Ceph, fs string) error {
	t.Helper()
	var dump fsMap
	ceph.JSON(t, &dump, "fs", "dump")
	for _, f := range dump.Filesystems {
		for _, d := range f.Map.Info {
			if f.Map.Name == fs && d.State == "up:active" {
				return nil
			}
		}
	}
	return fmt.Errorf("file system %s has no active metadata server", fs)
}

// wantStandby waits until a metadata server stands by again, as the other tests find it.
func wantStandby(t testing.TB, ceph *harness.Ceph) {
	t.Helper()
	harness.Eventually(t, "a metadata server stands by", harness.Patience, func() error {
		var dump fsMap
		ceph.JSON(t, &dump, "fs", "dump")
		if len(dump.Standbys) == 0 {
			return fmt.Errorf("none does: %+v", dump)
		}
		return activeMDS(t, ceph, harness.FS)
	})
}

// TestLackingCapability: a key that may not do what the controller needs is refused in those words, and nothing is left of the attempt.
func TestLackingCapability(t *testing.T) {
	ceph := harness.NewCeph(t)
	all := map[string]string{"mon": "allow r", "mgr": "allow rw", "mds": "allow *", "osd": "allow rw"}
	for _, tt := range []struct {
		name, kind, cap string
		do              func(t *testing.T, c *harness.Controller) error
	}{
		{"no manager", "mgr", "", createOne},
		{"the manager to read", "mgr", "allow r", createOne},
		{"no metadata server", "mds", "", createOne},
		{"metadata to read", "mds", "allow r", createOne},
		{"metadata without quotas and layouts", "mds", "allow rw", createOne},
		{"no object", "osd", "", growOne},
	} {
		t.Run(tt.name, func(t *testing.T) {
			user := "t-" + string(harness.NewPrefix(t))
			args := []string{"auth", "get-or-create", "client." + user}
			for kind, cap := range all {
				if kind == tt.kind {
					cap = tt.cap
				}
				if cap != "" {
					args = append(args, kind, cap)
				}
			}
			keyring := ceph.Keyring(user)
			if err := os.WriteFile(keyring, []byte(ceph.Run(t, args...)), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ceph.Run(t, "auth", "rm", "client."+user)
				if err := os.Remove(keyring); err != nil {
					t.Error(err)
				}
			})
			c := harness.NewController(t, ceph, harness.ControllerOptions{User: user})
			err := tt.do(t, c)
			wantCode(t, err, codes.FailedPrecondition)
			wantText(t, err, "capability", "`ceph auth caps`")
			if key := ceph.Key(t, user); strings.Contains(fmt.Sprint(err), key) || strings.Contains(c.Log(), key) {
				t.Error("the key is told")
			}

			// An operator corrects the key, or the orchestrator gives up: both end well.
			admin := harness.NewController(t, ceph, harness.ControllerOptions{Prefix: c.Prefix})
			remove(t, admin, create(t, admin, harness.Request("v", 8*mib)))
			wantNothingLeft(t, ceph, ceph.RootMount(t), c.Prefix)
		})
	}
}

func createOne(t *testing.T, c *harness.Controller) error {
	_, err := c.CreateVolume(call(t), harness.Request("v", 8*mib))
	return err
}

// growOne lets another controller make a volume.
func growOne(t *testing.T, c *harness.Controller) error {
	v := create(t, harness.NewController(t, c.Ceph, harness.ControllerOptions{Prefix: c.Prefix}), harness.Request("v", 8*mib))
	_, err := c.ControllerExpandVolume(call(t), &csi.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: 16 * mib}})
	return err
}
