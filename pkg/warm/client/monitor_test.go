package client

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// told is a Recorder that remembers.
type told []string

func (t *told) Claim(_ context.Context, id string, reason events.Reason, _ string) {
	*t = append(*t, id+" "+string(reason))
}

func (t *told) Pod(context.Context, tier.Pod, events.Reason, string) {}

// values are what a Monitor shows, by name and label values.
func values(t *testing.T, m *Monitor) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(m)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			key := strings.TrimPrefix(f.GetName(), "strata_")
			for _, l := range one.GetLabel() {
				key += " " + l.GetValue()
			}
			all[key] = one.GetGauge().GetValue() + one.GetCounter().GetValue()
		}
	}
	return all
}

func TestADeadMountIsCountedToldAndItsRepairToo(t *testing.T) {
	f := newFixture(t)
	var heard told
	m := NewMonitor(f.Stager, "csi.example.com", &heard)
	look := func(when string, want map[string]float64, tell ...string) {
		t.Helper()
		for range 2 { // what hasn't changed isn't told again
			if err := m.Look(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		got := values(t, m)
		for name, v := range want {
			if got[name] != v {
				t.Errorf("%s: %s is %v, want %v", when, name, got[name], v)
			}
		}
		if strings.Join(heard, ",") != strings.Join(tell, ",") {
			t.Errorf("%s: told %q, want %q", when, heard, tell)
		}
		heard = nil
	}
	look("nothing is mounted", map[string]float64{"mounts live warm": 0, "mounts dead warm": 0, "mount_deaths_total warm": 0})
	mountpointtest.CutFrom(t, sourceOf(writable), f.dir, unix.ENOTCONN)
	look("a dead mount", map[string]float64{"mounts live warm": 0, "mounts dead warm": 1, "mount_deaths_total warm": 1}, string(writable)+" VolumeMountDead")

	f.fuse.fail = volume.ErrUnavailable
	wantError(t, f.Stage(t.Context(), f.spec()), volume.ErrUnavailable)
	f.fuse.fail = nil
	if got := values(t, m); got["mount_repairs_total warm"] != 0 {
		t.Errorf("a repair that failed is counted: %v", got)
	}
	wantError(t, f.Stage(t.Context(), f.spec()), nil)
	wantError(t, f.Stage(t.Context(), f.spec()), nil)
	look("staged again", map[string]float64{"mounts live warm": 1, "mounts dead warm": 0, "mount_deaths_total warm": 1, "mount_repairs_total warm": 1},
		string(writable)+" VolumeMountRepaired")
	wantError(t, f.Unstage(t.Context(), writable, f.dir), nil)
	look("unstaged", map[string]float64{"mounts live warm": 0, "mount_repairs_total warm": 1})
}

func TestTheVolumeOfAKernelMountIsWhatKubeletWrote(t *testing.T) {
	f := newFixture(t)
	m := NewMonitor(f.Stager, "csi.example.com", events.None{})
	row := mountpoint.Mount{FSType: "ceph", Source: "10.0.0.1:6789:/volumes/team/vol/5e1f", Root: "/", SuperOptions: []string{"mds_namespace=fs1"},
		Path: filepath.Join(t.TempDir(), "globalmount")}
	write := func(driver, handle string) {
		t.Helper()
		raw, err := json.Marshal(map[string]string{"driverName": driver, "volumeHandle": handle, "specVolID": "pvc-1"})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(row.Path), "vol_data.json"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when string, want volume.ID) {
		t.Helper()
		if id, ok := m.volumeOf([]mountpoint.Mount{{Path: "/elsewhere", Source: row.Source, FSType: "ceph"}, row}); id != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", when, id, ok)
		}
	}
	expect("without the file", "")
	write("csi.example.com", string(writable))
	expect("ours", writable)
	write("csi.example.com", "warm:lab:fs1:team:other")
	expect("of another volume", "")
	write("other.example.com", string(writable))
	expect("of another driver", "")
}

func TestWhichMountsAreOurs(t *testing.T) {
	f := newFixture(t)
	for name, c := range map[string]struct {
		m    mountpoint.Mount
		ours bool
	}{
		"ceph-fuse":                     {mountpoint.Mount{FSType: "fuse", Source: "strata:" + string(writable)}, true},
		"another's ceph-fuse":           {mountpoint.Mount{FSType: "fuse.ceph-fuse", Source: "ceph-fuse"}, false},
		"a subvolume, kernel":           {mountpoint.Mount{FSType: "ceph", Source: "10.0.0.1:6789:/volumes/team/vol/5e1f"}, true},
		"a subvolume, kernel, IPv6":     {mountpoint.Mount{FSType: "ceph", Source: "[::1]:6789:/volumes/team/vol/5e1f"}, true},
		"the whole file system, kernel": {mountpoint.Mount{FSType: "ceph", Source: "10.0.0.1:6789:/"}, false},
		"all volumes, kernel":           {mountpoint.Mount{FSType: "ceph", Source: "10.0.0.1:6789:/volumes"}, false},
		"NFS":                           {mountpoint.Mount{FSType: "nfs4", Source: "nas:/volumes/team/vol/5e1f"}, false},
	} {
		if got := f.own(c.m); got != c.ours {
			t.Errorf("%s: %v", name, got)
		}
	}
}
