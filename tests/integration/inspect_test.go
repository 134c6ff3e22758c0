package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/tests/harness"
)

// look runs `strata-controller inspect` beside a running controller, as kubectl-strata does in its container.
func look(t testing.TB, c *harness.Controller, into any, args ...string) {
	t.Helper()
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.PID()))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(call(t), exe, append([]string{"inspect", "--cluster-config", c.ConfigPath}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("inspect %s: %v: %s", strings.Join(args, " "), err, errs.String())
	}
	d := json.NewDecoder(&out)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatal(err)
	}
}

// findings are doctor's checks by name and what follows the cluster in their subject.
func findings(t testing.TB, c *harness.Controller, args ...string) map[string]inspect.Check {
	t.Helper()
	var d inspect.Doctor
	look(t, c, &d, append([]string{"doctor"}, args...)...)
	found := map[string]inspect.Check{}
	for _, check := range d.Checks {
		found[check.Name+strings.TrimPrefix(check.Subject, "cluster "+harness.ClusterID)] = check
	}
	return found
}

func TestInspectDoctor(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{Defaults: map[string]string{"fsName": harness.FS, "pool": harness.ECPool}})
	remove(t, c, create(t, c, harness.Request("pvc-1", 64*mib)))
	found := findings(t, c, "--node-user=strata-node", "--node-user=other/strata-node")
	for _, key := range []string{"ceph-reachable", "ceph-version", "ceph-pools", "ceph-manager", "ceph-mds, file system " + harness.FS,
		"ceph-capabilities, controller", "ceph-capabilities, nodes"} {
		if got := found[key]; got.Result != inspect.OK || got.Found == "" {
			t.Errorf("%s: %+v", key, got)
		}
	}
	// Other tests of the same cluster stop daemons and jam the queue: that these two were looked at is enough.
	for _, key := range []string{"ceph-health", "ceph-placement-groups", "ceph-copies, file system " + harness.FS} {
		if got := found[key]; got.Result == inspect.Unknown || got.Found == "" {
			t.Errorf("%s: %+v", key, got)
		}
	}
	if len(found) != 10 {
		t.Errorf("%d checks, want 10: %v", len(found), found)
	}

	root := ceph.RootMount(t)
	link, dequeue := enqueue(t, root, "/volumes/"+string(c.Prefix)+".default/gone")
	stuck := findings(t, c)["ceph-copies, file system "+harness.FS]
	if stuck.Result != inspect.Fail || !strings.Contains(stuck.Found, link) || !strings.Contains(stuck.Fix, "rm ") || !strings.Contains(stuck.Fix, "MOUNT"+link) {
		t.Errorf("a stuck queue is %+v", stuck)
	}
	dequeue()

	c.WriteConfig(fmt.Sprintf("controller: {user: strata-node, keyringFile: %s}", ceph.Keyring("strata-node")))
	weak := findings(t, c)
	if got := weak["ceph-manager"]; got.Result != inspect.Fail || !strings.Contains(got.Fix, "lacks a capability of mgr") {
		t.Errorf("with a node's key the manager is %+v", got)
	}
}

// The user with the capabilities of docs/security.md is enough to look, and to see that it is.
func TestInspectWithALeastKey(t *testing.T) {
	ceph := harness.NewCeph(t)
	user := "least-" + string(harness.NewPrefix(t))
	ceph.Run(t, "auth", "get-or-create", "client."+user, "mon", "allow r", "mgr", "allow rw", "mds", "allow rwp", "osd",
		"allow rwx pool="+harness.DataPool+" namespace=strata-locks")
	t.Cleanup(func() { _, _ = ceph.Try("auth", "rm", "client."+user) })
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(ceph.Key(t, user)), 0o600); err != nil {
		t.Fatal(err)
	}
	c := harness.NewController(t, ceph, harness.ControllerOptions{Defaults: map[string]string{"fsName": harness.FS, "pool": harness.ECPool}})
	config := filepath.Join(t.TempDir(), "clusters.yaml")
	text := fmt.Sprintf("clusters:\n- clusterID: %s\n  monitors: [%q]\n  namePrefix: %s\n  controller: {user: %s, keyFile: %s}\n", harness.ClusterID, ceph.Monitor, c.Prefix, user, key)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.ConfigPath = config
	found := findings(t, c)
	for _, k := range []string{"ceph-manager", "ceph-mds, file system " + harness.FS, "ceph-capabilities, controller"} {
		if found[k].Result != inspect.OK {
			t.Errorf("%s: %+v", k, found[k])
		}
	}
	if got := found["ceph-capabilities, controller"].Found; !strings.Contains(got, "administrator") {
		t.Errorf("a key that may not read capabilities: %s", got)
	}
}

func TestInspectVolumes(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{Defaults: map[string]string{"fsName": harness.FS, "pool": harness.ECPool}})
	root := ceph.RootMount(t)
	before := time.Now().Add(-time.Minute)
	req := harness.Request("pvc-1", 64*mib, "team", "vision")
	for k, v := range map[string]string{"pv/name": "pvc-1", "pvc/name": "data", "pvc/namespace": "vision"} {
		req.Parameters["csi.storage.k8s.io/"+k] = v
	}
	v := create(t, c, req)
	writeFile(t, filepath.Join(dataPath(root, v), "a"), make([]byte, 5*mib))
	s := snapshot(t, c, "snap-1", v)
	served := create(t, c, readOnly(from(harness.Request("pvc-served", 0), s)))
	deleted := create(t, c, harness.Request("pvc-deleted", 64*mib))
	kept := snapshot(t, c, "snap-kept", deleted)
	remove(t, c, deleted)
	group, name := place(v)
	ceph.Run(t, "fs", "subvolume", "snapshot", "create", harness.FS, name, "by-hand", "--group_name", group)

	harness.Eventually(t, "the sums have reached the directory", time.Minute, func() error { // the metadata server adds up lazily
		var inv inspect.Inventory
		look(t, c, &inv, "volumes")
		for _, got := range inv.Volumes {
			if got.Name == name && got.Used != nil && *got.Used == 5*mib && got.Files != nil && *got.Files == 1 {
				return nil
			}
		}
		return fmt.Errorf("%+v", inv.Volumes)
	})
	var inv inspect.Inventory
	look(t, c, &inv, "orphans")
	volumes, snapshots := map[string]inspect.Volume{}, map[string]inspect.Snapshot{}
	for _, v := range inv.Volumes {
		volumes[v.ID] = v
	}
	for _, s := range inv.Snapshots {
		snapshots[s.Name] = s
	}
	got := volumes[v.GetVolumeId()]
	if got.State != inspect.Ready || got.Team != "vision" || got.Namespace != "vision" || got.PVC != "data" || got.Pool != harness.ECPool || got.Size != 64*mib ||
		got.Snapshots != 2 || got.Changed == nil || got.Changed.Before(before) || got.Changed.After(time.Now().Add(time.Minute)) {
		t.Errorf("the volume is %+v", got)
	}
	if got := volumes[served.GetVolumeId()]; !got.ReadOnly || got.Source != s.GetSnapshotId() {
		t.Errorf("the served volume is %+v", got)
	}
	if got := volumes[deleted.GetVolumeId()]; got.State != inspect.Retained {
		t.Errorf("the deleted volume with a snapshot is %+v", got)
	}
	if len(inv.Volumes) != 3 || len(inv.Snapshots) != 3 || len(inv.Places) != 1 || len(inv.Missed) != 0 {
		t.Errorf("%d volumes, %d snapshots, %+v, %+v", len(inv.Volumes), len(inv.Snapshots), inv.Places, inv.Missed)
	}
	if got := snapshots["by-hand"]; got.State != inspect.Unrecorded || got.Volume != name || got.Created == nil {
		t.Errorf("the snapshot taken by hand is %+v", got)
	}
	if got := snapshots["snap-1"]; got.ID != s.GetSnapshotId() || got.State != inspect.Ready || len(got.Readers) != 1 {
		t.Errorf("the snapshot is %+v", got)
	}

	// What kubectl strata orphans prints for it removes it.
	ceph.Run(t, "fs", "subvolume", "snapshot", "rm", harness.FS, name, "by-hand", "--group_name", group)
	remove(t, c, served)
	unsnapshot(t, c, s, kept)
	remove(t, c, v)
	harness.Eventually(t, "nothing is left", time.Minute, func() error {
		var inv inspect.Inventory
		look(t, c, &inv, "orphans")
		if len(inv.Volumes)+len(inv.Snapshots) > 0 {
			return fmt.Errorf("there are %+v, %+v", inv.Volumes, inv.Snapshots)
		}
		return nil
	})
}
