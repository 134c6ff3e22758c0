package cold

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/tests/harness"
)

func volumeOf(id, endpoint, bucket string) *csi.Volume {
	return &csi.Volume{VolumeId: id, VolumeContext: map[string]string{"endpoint": endpoint, "bucket": bucket}}
}

// The secret of the store is the sentinel that is searched for: wherever a process of ours leaves text.
func TestTheSecretIsNowhere(t *testing.T) {
	f := newFixture(t)
	v := f.volume("pvc-secret", 64*mib)
	on := f.a.Mount(v, "vol", harness.RWX)
	write(t, filepath.Join(on, "file"), "content")
	must(t, f.a.Stage(call(t), v, "vol", harness.RWX)) // hands the credentials on
	// Errors and a replaced engine have texts of their own.
	errs := []error{f.a.Stage(call(t), volumeOf("cold:gone", f.server.Endpoint, "gone"), "gone", harness.RWX)}
	f.server.Kill()
	errs = append(errs, f.b.Stage(call(t), v, "vol", harness.RWX))
	f.server.Start(t)
	must(t, f.b.Stage(call(t), v, "vol", harness.RWX))

	secret := f.Secrets["secretAccessKey"]
	places := map[string]string{"strata-controller's log": f.Log()}
	for i, err := range errs {
		if err == nil {
			t.Errorf("error %d: there is none", i)
			continue
		}
		places[fmt.Sprintf("error %d", i)] = err.Error()
	}
	for key, value := range v.GetVolumeContext() {
		places["volume context "+key] = value
	}
	pids := []int{f.PID()}
	for _, n := range []*harness.Node{f.a, f.b} {
		places["logs of node "+n.ID] = n.Log() + n.EngineLogs()
		pids = append(pids, append(n.PIDs(), engine(t, n, "vol").PID)...)
		// State, records, cache: all that lies on the node's disk.
		must(t, filepath.WalkDir(n.Dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || d.Name() == "strata-coldfs" {
				if d != nil && d.IsDir() && (path == n.Staging("vol") || path == filepath.Dir(n.Target("vol"))) {
					return filepath.SkipDir
				}
				return err
			}
			raw, err := os.ReadFile(path)
			places[path] = string(raw)
			return err
		}))
	}
	for _, pid := range pids {
		for _, file := range []string{"cmdline", "environ"} {
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			must(t, err)
			if file == "cmdline" && len(raw) == 0 {
				t.Errorf("process %d is gone", pid)
			}
			places[fmt.Sprintf("%s of process %d", file, pid)] = string(raw)
		}
	}
	for place, text := range places {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds the secret", place)
		}
	}
	if len(places) < 20 {
		t.Errorf("only %d places were searched", len(places))
	}
	f.a.Unmount(v, "vol")
	_, err := f.b.NodeUnstageVolume(call(t), &csi.NodeUnstageVolumeRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: f.b.Staging("vol")})
	must(t, err)
}
