package inspect_test

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestWhatTheDriverMadeIsSeen(t *testing.T) {
	l := newLab(t)
	v := l.create("pvc-1", 8*mib, "team", "vision")
	l.ceph.WriteFile("warm", v.Context["path"]+"/a", 3*mib)
	full := l.create("pvc-full", 4*mib)
	l.ceph.WriteFile("warm", full.Context["path"]+"/a", 4*mib)
	s := l.snapshot("snap-1", v)
	restored, err := l.Create(t.Context(), volume.Spec{Name: "pvc-restored", Capacity: volume.CapacityRange{Required: 8 * mib},
		Parameters: map[string]string{"tier": "warm"}, Source: volume.Source{Snapshot: s.ID}})
	if err != nil {
		t.Fatal(err)
	}
	served, err := l.Create(t.Context(), volume.Spec{Name: "pvc-served", Parameters: map[string]string{"tier": "warm"}, Source: volume.Source{Snapshot: s.ID},
		Access: volume.Access{ReadOnly: true, MultiNode: true}})
	if err != nil {
		t.Fatal(err)
	}
	inv, volumes, snapshots := l.inventory()
	if len(inv.Missed) != 0 || len(inv.Places) != 1 || inv.Places[0] != (inspect.Place{Cluster: "lab", FileSystem: "warm", NamePrefix: "dev"}) {
		t.Errorf("places %+v, missed %+v", inv.Places, inv.Missed)
	}
	if len(inv.Volumes) != 4 || len(inv.Snapshots) != 1 {
		t.Fatalf("%d volumes and %d snapshots", len(inv.Volumes), len(inv.Snapshots))
	}
	used, files := 3*mib, int64(1)
	want := inspect.Volume{ID: string(v.ID), Cluster: "lab", FileSystem: "warm", Group: "dev.vision", Name: "pvc-1", Team: "vision", Request: "pvc-1", PV: "pvc-1",
		PVC: "claim-pvc-1", Namespace: "team-a", Pool: "warm-ec", State: inspect.Ready, Size: 8 * mib, Used: &used, Files: &files, Snapshots: 1, Health: []inspect.Condition{}}
	if d := cmp.Diff(want, volumes["pvc-1"]); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if h := volumes["pvc-full"].Health; len(h) != 1 || h[0].Reason != "QuotaReached" || h[0].Severity != "degraded" {
		t.Errorf("the full volume's health is %+v", h)
	}
	if r := volumes["pvc-restored"]; r.ID != string(restored.ID) || r.Source != string(s.ID) || r.State != inspect.Ready {
		t.Errorf("the restored volume is %+v", r)
	}
	if r := volumes["pvc-served"]; r.ID != string(served.ID) || !r.ReadOnly || r.Source != string(s.ID) || r.Used != nil || r.Team != "vision" {
		t.Errorf("the served volume is %+v", r)
	}
	got := inv.Snapshots[0]
	if got.ID != string(s.ID) || got.State != inspect.Ready || got.Volume != "pvc-1" || got.Size != 8*mib || len(got.Readers) != 1 || got.Readers[0] != "pvc-served" ||
		got.Created == nil || !got.Created.Equal(s.Created) {
		t.Errorf("the snapshot is %+v", got)
	}
	_ = snapshots
	for _, volume := range l.Inventory(t.Context(), false).Volumes {
		if volume.Snapshots != 0 {
			t.Errorf("%s: snapshots were counted without being asked for", volume.Name)
		}
	}
}

func TestWhatIsLeftOverIsSeen(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	conn := l.ceph.Conn()
	tree := conn.Tree("warm")
	deleted := l.create("pvc-deleted", mib)
	l.snapshot("keeps", deleted)
	l.remove(deleted)
	gone := l.create("pvc-gone", mib)
	l.remove(gone)
	v := l.create("pvc-1", mib)
	l.copy("pvc-copy", v)
	lost := l.snapshot("lost", v)
	create := func(group, name string) {
		if _, err := conn.Mgr(ctx, map[string]any{"prefix": "fs subvolume create", "vol_name": "warm", "group_name": group, "sub_name": name}); err != nil {
			t.Fatal(err)
		}
	}
	snap := func(prefix, name string) {
		if _, err := conn.Mgr(ctx, map[string]any{"prefix": "fs subvolume snapshot " + prefix, "vol_name": "warm", "group_name": "dev.default", "sub_name": "pvc-1", "snap_name": name}); err != nil {
			t.Fatal(err)
		}
	}
	snap("rm", lost.ID.Parts()[4])
	snap("create", "by-hand")
	snap("create", "copy_nobody")
	create("dev.default", "half")
	snap("create", "copy_half") // an interrupted copy into it may go on
	create("dev.default", "strange")
	if err := tree.SetXattr(ctx, "/volumes/dev.default/strange", "user.strata", "{"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Mgr(ctx, map[string]any{"prefix": "fs subvolumegroup create", "vol_name": "warm", "group_name": "device.default"}); err != nil {
		t.Fatal(err)
	}
	create("device.default", "of-another-prefix")
	if err := tree.MakeDir(ctx, "/strata/dev/snapshots/begun"); err != nil {
		t.Fatal(err)
	}
	l.ceph.WriteLink("warm", "/volumes/_index/clone/1", "/volumes/dev.default/half")

	inv, volumes, snapshots := l.inventory()
	states := map[string]inspect.State{}
	for n, v := range volumes {
		states["volume "+n] = v.State
	}
	for n, s := range snapshots {
		states["snapshot "+n] = s.State
	}
	want := map[string]inspect.State{
		"volume pvc-deleted": inspect.Retained, "volume pvc-1": inspect.Ready, "volume pvc-copy": inspect.Ready, "volume half": inspect.Unfinished, "volume strange": inspect.Unreadable,
		"snapshot keeps": inspect.Ready, "snapshot lost": inspect.Lost, "snapshot by-hand": inspect.Unrecorded, "snapshot copy_nobody": inspect.Unrecorded,
		"snapshot copy_half": inspect.Temporary, "snapshot begun": inspect.Unfinished,
	}
	if d := cmp.Diff(want, states); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if len(inv.Missed) > 0 {
		t.Errorf("missed %+v", inv.Missed)
	}
	if !volumes["half"].Queued || volumes["pvc-1"].Queued {
		t.Error("what Ceph copies into isn't told from the rest")
	}
	if volumes["strange"].Problem == "" {
		t.Error("nothing is said of the record that can't be read")
	}
}

var update = flag.Bool("update", false, "write the golden files")

var moment = regexp.MustCompile(`"(\d{4}-\d\d-\d\dT[0-9:.]+Z)"`)

// The documents' form is for other programs, of other releases too: a change of a golden file is a change of the interface.
func TestForm(t *testing.T) {
	l := newLab(t)
	l.ceph.SetClock(func() time.Time { return time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC) })
	v := l.create("pvc-1", 8*mib, "team", "vision")
	l.snapshot("snap-1", v)
	for name, document := range map[string]any{"doctor": l.Doctor(t.Context(), nil), "inventory": l.Inventory(t.Context(), true)} {
		got := moment.ReplaceAllString(asJSON(t, document), `"2026-11-24T10:00:00Z"`)
		got = regexp.MustCompile(`"program": ".*"`).ReplaceAllString(got, `"program": "v1.2.3"`)
		golden := "testdata/" + name + ".json"
		if *update {
			if err := os.WriteFile(golden, []byte(got+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(strings.TrimSpace(string(want)), got); d != "" {
			t.Errorf("%s (-want +got)\n%s", golden, d)
		}
	}
}
