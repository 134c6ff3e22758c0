package scratch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/metrics"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// told is a Recorder that remembers.
type told []string

func (t *told) Claim(_ context.Context, id string, reason events.Reason, text string) {
	*t = append(*t, "claim "+id+" "+string(reason)+" "+text)
}

func (t *told) Pod(_ context.Context, pod tier.Pod, reason events.Reason, text string) {
	*t = append(*t, "pod "+pod.Name+" "+string(reason)+" "+text)
}

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
			key := strings.TrimPrefix(f.GetName(), "strata_scratch_")
			for _, l := range one.GetLabel() {
				key += " " + l.GetValue()
			}
			all[key] = one.GetGauge().GetValue() + one.GetCounter().GetValue()
		}
	}
	return all
}

func expect(t *testing.T, when string, got map[string]float64, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s: %q is %v, want %v; of %v", when, name, g, v, got)
		}
	}
}

func TestMetricsShowRoomAndWhatWasPromised(t *testing.T) {
	n := newNode(t)
	m := NewMonitor(n.Backend, events.None{})
	if _, ok := values(t, m)["room_bytes default nvme"]; ok {
		t.Error("room is shown before anybody has looked")
	}
	n.must(n.PublishInline(t.Context(), n.inlineSpec("pod-1", "tmp", "size", "100Mi")))
	n.must(m.Look(t.Context()))
	room := float64(2*gib - 100*mib)
	expect(t, "one volume", values(t, m), map[string]float64{
		"room_bytes default nvme": room, "largest_volume_bytes default nvme": 512 * mib, "room_bytes other nvme": room,
		"disk_usable /a loop nvme": 1, "disk_capacity_bytes /b loop nvme": gib, "orphans": 0, "reaped_total": 0,
	})
	got := values(t, m)
	if got["disk_promised_bytes /a loop nvme"]+got["disk_promised_bytes /b loop nvme"] != 100*mib {
		t.Errorf("promised: %v", got)
	}
	sums := m.Volumes()
	if s := sums[metrics.Group{Tier: "scratch", Pool: "nvme", Class: "default"}]; s != (metrics.Sum{Count: 1, Bytes: 100 * mib, Used: -1}) {
		t.Errorf("volumes: %+v", sums)
	}
	if s, ok := sums[metrics.Group{Tier: "scratch", Pool: "nvme", Class: "other"}]; !ok || s.Count != 0 {
		t.Errorf("a class without volumes: %+v", sums)
	}

	n.disks[0].failing("Capacity", errors.New("input/output error"))
	if err := m.Look(t.Context()); err == nil || !strings.Contains(err.Error(), "/a: input/output error") {
		t.Errorf("a disk that can't be looked at: %v", err)
	}
	expect(t, "a disk is lost", values(t, m), map[string]float64{"disk_usable /a loop nvme": 0, "disk_usable /b loop nvme": 1})
}

func TestARefusedDiskIsShown(t *testing.T) {
	n := newNode(t)
	p := n.pools["nvme"]
	p.Disks = append(p.Disks, config.Place{Path: "/a"}, config.Place{Path: "/b"}, config.Place{Path: "/c"})
	n.pools["nvme"] = p
	m := NewMonitor(n.Backend, events.None{})
	n.must(m.Look(t.Context()))
	expect(t, "three places, two disks", values(t, m), map[string]float64{"disk_usable /a loop nvme": 1, "disk_usable /c  nvme": 0})
}

func TestUsersAreToldOnceWhenTheirVolumeTurnsBad(t *testing.T) {
	n := newNode(t)
	var heard told
	m := NewMonitor(n.Backend, &heard)
	n.must(n.PublishInline(t.Context(), n.inlineSpec("pod-1", "tmp", "size", "100Mi")))
	r := n.Backend.records()[0]
	d := n.disks[0]
	if d.Name() != r.Disk {
		d = n.disks[1]
	}
	look := func(want int) {
		t.Helper()
		for range 3 {
			n.must(m.Look(t.Context()))
		}
		if len(heard) != want {
			t.Fatalf("told %q", heard)
		}
	}
	look(0)
	d.unwell(volume.Condition{Severity: volume.Degraded, Reason: "DiskErrors", Message: "7 errors"})
	n.must(m.Look(t.Context()))
	if len(heard) != 0 {
		t.Errorf("told after one look: %q", heard)
	}
	look(1)
	if want := "pod " + r.Pod.Name + " ScratchDiskFailed DiskErrors: 7 errors"; heard[0] != want {
		t.Errorf("told %q, want %q", heard[0], want)
	}
	expect(t, "with disk errors", values(t, m), map[string]float64{"unhealthy_volumes " + d.Name() + " loop nvme": 1, "volume_conditions " + d.Name() + " DiskErrors": 1})
	d.unwell(volume.Condition{Severity: volume.Degraded, Reason: "DiskErrors", Message: "8 errors"}, volume.Condition{Severity: volume.Inaccessible, Reason: "NotAnswering", Message: "silent"})
	look(2) // what changes in its words isn't news
	if !strings.Contains(heard[1], "ScratchVolumeUnhealthy NotAnswering: silent") {
		t.Errorf("told %q", heard[1])
	}
	d.unwell()
	look(3)
	if !strings.Contains(heard[2], "ScratchVolumeRecovered") {
		t.Errorf("told %q", heard[2])
	}
	got := values(t, m)
	expect(t, "after it recovered", got, map[string]float64{"unhealthy_volumes " + d.Name() + " loop nvme": 0})
	if _, ok := got["volume_conditions "+d.Name()+" DiskErrors"]; ok {
		t.Errorf("after it recovered: %v", got)
	}
}

func TestWhatTheReaperDoesIsCounted(t *testing.T) {
	n := newNode(t)
	m := NewMonitor(n.Backend, events.None{})
	n.must(n.PublishInline(t.Context(), n.inlineSpec("pod-1", "tmp", "size", "100Mi")))
	n.must(n.disks[0].Create(t.Context(), disk.Spec{Name: "vstray", Size: 16 * mib}))
	now := time.Now()
	reaper := NewReaper(n.Backend, &pods{}, time.Minute)
	reaper.now = func() time.Time { return now }
	n.must(reaper.Reap(t.Context()))
	expect(t, "two are nobody's", values(t, m), map[string]float64{"orphans": 2, "reaped_total": 0})
	now = now.Add(2 * time.Minute)
	n.must(reaper.Reap(t.Context()))
	n.must(reaper.Reap(t.Context()))
	expect(t, "the grace time is over", values(t, m), map[string]float64{"orphans": 0, "reaped_total": 2})
}
