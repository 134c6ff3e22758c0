package kubectl

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	volumesnapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/version"
)

var update = flag.Bool("update", false, "write the golden files")

func ownVersion() string { return version.String() }

// golden compares with a file in testdata. A change of a .json file there is a change of the interface for programs.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got)\n%s", path, d)
	}
}

func count(w *world, what string) (n int) {
	for _, c := range w.commands {
		if strings.Contains(strings.Join(c, " "), "inspect "+what) {
			n++
		}
	}
	return n
}

// lively has volumes of every sort.
func lively(t *testing.T) *world {
	w := newWorld(t)
	data, full := held("vision", "pvc-data", 100*gib, 60*gib), held("nlp", "pvc-full", 10*gib, 10*gib)
	full.Health = []inspect.Condition{{Severity: "degraded", Reason: "QuotaReached", Message: "it holds 10GiB of 10GiB"}}
	served := held("vision", "pvc-served", 100*gib, 0)
	served.ID, served.ReadOnly, served.Used, served.Files, served.Source = served.ID+":ro", true, nil, nil, "warm:main:warm:k8s-a.vision:pvc-data:snap-1"
	orphan := held("vision", "pvc-orphan", 5*gib, gib)
	copying := held("nlp", "pvc-copy", gib, 0)
	copying.State, copying.Health = inspect.Copying, []inspect.Condition{{Severity: "inaccessible", Reason: "Copying"}}
	w.inventory.Volumes = append(w.inventory.Volumes, data, full, served, orphan, copying)
	block := persistent("pv-block", "scratch:default:pv-block", "nlp/block", 20*gib, "strata-scratch", corev1.ReadWriteOncePod)
	block.Spec.VolumeMode = ptr(corev1.PersistentVolumeBlock)
	fresh := persistent("pvc-fresh", "warm:main:warm:k8s-a.nlp:pvc-fresh", "nlp/fresh", gib, "strata-warm", corev1.ReadWriteMany)
	fresh.CreationTimestamp = metav1.NewTime(now.Add(-10 * time.Second))
	foreign := persistent("foreign", "x", "nlp/foreign", gib, "other", corev1.ReadWriteOnce)
	foreign.Spec.CSI.Driver = "other.example.com"
	inline := corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driverName, VolumeAttributes: map[string]string{"size": "50Gi"}}}}
	ended := userPod("ended", "vision", "node-a", claimed("data"), inline)
	ended.Status.Phase = corev1.PodSucceeded
	w.add(
		persistent("pvc-data", data.ID, "vision/data", 100*gib, "strata-warm", corev1.ReadWriteMany),
		persistent("pvc-full", full.ID, "nlp/full", 8*gib, "strata-warm", corev1.ReadWriteMany),
		persistent("pvc-served", served.ID, "vision/frozen", 100*gib, "strata-warm", corev1.ReadOnlyMany),
		persistent("pvc-copy", copying.ID, "nlp/copy", gib, "strata-warm", corev1.ReadWriteMany),
		persistent("pvc-gone", "warm:main:warm:k8s-a.nlp:pvc-gone", "nlp/gone", gib, "strata-warm", corev1.ReadWriteMany),
		persistent("pvc-far", "warm:elsewhere:warm:k8s-a.nlp:pvc-far", "", gib, "strata-warm", corev1.ReadWriteMany),
		block, fresh, foreign, ended,
		userPod("train-0", "vision", "node-a", claimed("data"), inline), userPod("train-1", "vision", "node-b", claimed("data")), userPod("waits", "vision", "", claimed("data")),
		userPod("eph", "nlp", "node-b", corev1.Volume{Name: "block", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}),
		userPod("other", "nlp", "node-b", claimed("block")),
	)
	return w
}

func TestVolumes(t *testing.T) {
	for _, format := range []string{"table", "wide", "json"} {
		code, out, stderr := lively(t).run("volumes", "-o", format)
		if code != ExitOK {
			t.Errorf("%s: exit code %d, %s", format, code, stderr)
		}
		if said := strings.Contains(stderr, "1 volume in the clusters without a PersistentVolume"); said != (format != "json") {
			t.Errorf("%s: the standard error has %q", format, stderr)
		}
		golden(t, "volumes."+map[string]string{"table": "txt", "wide": "wide.txt", "json": "json"}[format], out)
	}
}

func TestUsage(t *testing.T) {
	code, out, stderr := lively(t).run("usage", "--price", "warm=0.03")
	if code != ExitOK || stderr != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	golden(t, "usage.txt", out)
	_, out, _ = lively(t).run("usage", "-o", "json")
	golden(t, "usage.json", out)
	for _, bad := range []string{"warm", "hot=1", "warm=-1", "warm=x", "warm=NaN", "warm=Inf"} {
		if code, _, stderr := lively(t).run("usage", "--price", bad); code != ExitNotSeen || !strings.Contains(stderr, "warm=0.03") {
			t.Errorf("--price %s: exit code %d, %s", bad, code, stderr)
		}
	}
}

// Without the controller there is still what Kubernetes knows.
func TestListsWithoutTheController(t *testing.T) {
	for _, command := range []string{"volumes", "usage"} {
		w := lively(t)
		w.err = errors.New("it is away")
		code, out, stderr := w.run(command)
		if code != ExitNotSeen || !strings.Contains(stderr, "it is away") || !strings.Contains(out, "warm") || strings.Contains(out, "Gone") {
			t.Errorf("%s: exit code %d, %s\n%s", command, code, stderr, out)
		}
	}
	w := lively(t)
	w.err = errors.New("it is away")
	if code, out, stderr := w.run("orphans"); code != ExitNotSeen || out != "" || !strings.Contains(stderr, "it is away") {
		t.Errorf("orphans: exit code %d, %s\n%s", code, stderr, out)
	}
}

// Nothing is taken to be gone from where nobody could look.
func TestWhatIsMissedIsNotGone(t *testing.T) {
	for _, command := range []string{"volumes", "usage", "orphans"} {
		w := lively(t)
		w.inventory.Places, w.inventory.Volumes = []inspect.Place{}, []inspect.Volume{}
		w.inventory.Missed = []inspect.Missed{{Cluster: "main", FileSystem: "warm", Reason: "no answer"}}
		code, out, stderr := w.run(command)
		if code != ExitNotSeen || !strings.Contains(stderr, "cluster main, file system warm couldn't be looked at: no answer") || strings.Contains(out, "isn't there") || strings.Contains(out, "Gone") {
			t.Errorf("%s: exit code %d, %s\n%s", command, code, stderr, out)
		}
	}
}

func content(name, handle string) *volumesnapshotv1.VolumeSnapshotContent {
	c := &volumesnapshotv1.VolumeSnapshotContent{ObjectMeta: meta(name), Spec: volumesnapshotv1.VolumeSnapshotContentSpec{Driver: driverName,
		VolumeSnapshotRef: corev1.ObjectReference{Namespace: "vision", Name: "of-" + name}}}
	if handle != "" {
		c.Status = &volumesnapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: &handle}
	}
	return c
}

func TestOrphans(t *testing.T) {
	w := lively(t)
	snap := func(of, name string, state inspect.State) inspect.Snapshot {
		return inspect.Snapshot{ID: "warm:main:warm:k8s-a.vision:" + of + ":" + name, Cluster: "main", FileSystem: "warm", Group: "k8s-a.vision", Volume: of, Name: name,
			State: state, Size: gib, Created: ptr(now.Add(-48 * time.Hour)), Readers: []string{}}
	}
	unrecorded := snap("pvc-data", "by-hand", inspect.Unrecorded)
	unrecorded.ID = ""
	used := snap("pvc-data", "snap-1", inspect.Ready)
	used.Readers = []string{"pvc-served"}
	young := snap("pvc-data", "young", inspect.Ready)
	young.Created = ptr(now.Add(-time.Minute))
	w.inventory.Snapshots = []inspect.Snapshot{used, snap("pvc-data", "wanted", inspect.Ready), snap("pvc-data", "unwanted", inspect.Ready), unrecorded, young,
		snap("pvc-data", "lost", inspect.Lost), snap("pvc-data", "copy_x", inspect.Temporary), snap("pvc-husk", "kept", inspect.Ready)}
	husk, empty := held("vision", "pvc-husk", gib, 0), held("vision", "pvc-empty", gib, 0)
	husk.State, husk.Used, empty.State, empty.Used = inspect.Retained, nil, inspect.Retained, nil
	half, queued, inTheMaking := held("vision", "pvc-half", 0, 0), held("vision", "pvc-queued", gib, 0), held("vision", "pvc-new", gib, 0)
	half.State, half.PV, half.PVC, queued.Queued, inTheMaking.Changed = inspect.Unfinished, "", "", true, ptr(now.Add(-time.Minute))
	w.inventory.Volumes = append(w.inventory.Volumes, husk, empty, half, queued, inTheMaking)
	w.snapshots = append(w.snapshots, content("c-wanted", w.inventory.Snapshots[1].ID), content("c-lost", w.inventory.Snapshots[5].ID), content("c-kept", w.inventory.Snapshots[7].ID),
		content("c-gone", "warm:main:warm:k8s-a.vision:pvc-data:never"), content("c-new", ""), content("c-far", "warm:elsewhere:warm:k8s-a.vision:x:y"))
	w.add(scratchRoom("node-z", gib, now.Add(-3*time.Hour)))
	code, out, stderr := w.run("orphans")
	if code != ExitFound || stderr != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	golden(t, "orphans.txt", out)
	_, out, _ = w.run("orphans", "-o", "json")
	golden(t, "orphans.json", out)
	if count(w, "orphans") != 2 {
		t.Errorf("ran %q", w.commands)
	}
	for _, mustNot := range []string{"pvc-new", "young", "snap-1 ", "copy_x", "c-far", "c-new"} {
		if strings.Contains(out, `"name": "`+mustNot) {
			t.Errorf("%s is listed", mustNot)
		}
	}
}

func TestNoOrphans(t *testing.T) {
	code, out, stderr := newWorld(t).run("orphans")
	if code != ExitOK || out != "There is no orphan.\n" || stderr != "" {
		t.Errorf("exit code %d, %q, %q", code, out, stderr)
	}
}

func TestTheCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--help"}, ExitOK, "kubectl strata doctor"},
		{[]string{"--version"}, ExitOK, ownVersion()},
		{[]string{"completion", "bash"}, ExitOK, "bash completion"},
		{[]string{"orphans", "--help"}, ExitOK, "It removes nothing"},
		{[]string{"volumes", "-o", "yaml"}, ExitNotSeen, `--output "yaml": it can be table, wide or json`},
		{[]string{"volume", "--nope"}, ExitNotSeen, "unknown flag"},
		{[]string{"orphans", "--grace", "-1h"}, ExitNotSeen, "can't be negative"},
		{[]string{"volumes", "x"}, ExitNotSeen, "unknown command"},
		{[]string{"doctr"}, ExitNotSeen, "doctor"},
	} {
		code, out, stderr := newWorld(t).run(c.args...)
		if code != c.code || !strings.Contains(out+stderr, c.says) {
			t.Errorf("%q: exit code %d, %s%s", c.args, code, out, stderr)
		}
	}
}

// What others wrote can't move the cursor or begin a line of its own.
func TestNobodyElseWritesOnTheTerminal(t *testing.T) {
	w := newWorld(t)
	w.doctor.Checks[0].Found = "bad\x1b[2J\nok   everything"
	_, out, _ := w.run("doctor")
	if strings.ContainsRune(out, 0x1b) || strings.Contains(out, "\nok   everything") {
		t.Errorf("%q", out)
	}
}
