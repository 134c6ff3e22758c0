package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/hack/stack"
)

// What the demo shows, in its order.

const dataset = "dataset"

// team is the volume that the whole demo is about.
var team *csi.Volume

// start starts everything.
func (d *demo) start(ctx context.Context) error {
	if err := d.Up(ctx, "node-a", "node-b"); err != nil {
		return err
	}
	d.did("programs", "strata-controller, and strata-node with strata-mountd twice, as %s and %s", d.Nodes[0].Name, d.Nodes[1].Name)
	return nil
}

// share writes on one node what the other reads.
func (d *demo) share(ctx context.Context) (err error) {
	if team, err = d.create(ctx, "team-dataset", volumeSize, stack.Shared, ""); err != nil {
		return err
	}
	d.did("volume", "%s, %d MiB, for team vision", team.GetVolumeId(), team.GetCapacityBytes()/mib)
	a, b := d.Nodes[0], d.Nodes[1]
	for _, n := range d.Nodes {
		if err := n.Mount(ctx, team, dataset, stack.Shared); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	d.did("mounted", "read-write on %s and %s at once", a.Name, b.Name)
	wrote, speed, err := write(filepath.Join(a.Target(dataset), "shard-0"), dataSize)
	if err != nil {
		return err
	}
	d.did("written on "+a.Name, "%d MiB, fsync included: %.0f MB/s", dataSize/mib, speed)
	got, speed, err := read(filepath.Join(b.Target(dataset), "shard-0"))
	if err != nil {
		return err
	}
	if got != wrote {
		return errors.New("what was read on one node is not what was written on the other")
	}
	d.did("read on "+b.Name, "%d MiB, same SHA-256: %.0f MB/s", dataSize/mib, speed)
	return nil
}

// inside shows the volume from Ceph's side, and its limit.
func (d *demo) inside(ctx context.Context) error {
	d.did("quota", "%s", quota(d.Nodes[1].Target(dataset)))
	pool, namespace, objects, used, err := d.usage(team)
	if err != nil {
		return err
	}
	d.did("in Ceph", "%d objects in pool %s (erasure-coded 4+2), namespace %s, %d MiB", objects, pool, namespace, used/mib)
	more, err := d.Controller.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: team.GetVolumeId(),
		CapacityRange: &csi.CapacityRange{RequiredBytes: 3 * gib}})
	if err != nil {
		return err
	}
	d.did("grown", "to %d MiB while mounted", more.GetCapacityBytes()/mib)
	return nil
}

// snapshots takes one, changes the volume, and gets the old state back in two ways.
func (d *demo) snapshots(ctx context.Context) error {
	a, b := d.Nodes[0], d.Nodes[1]
	file := filepath.Join(a.Target(dataset), "labels.txt")
	if err := os.WriteFile(file, []byte("before\n"), 0o644); err != nil {
		return err
	}
	if err := sync(file); err != nil {
		return err
	}
	snap, err := d.Controller.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "before-relabel", SourceVolumeId: team.GetVolumeId()})
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte("after\n"), 0o644); err != nil {
		return err
	}
	id, size := snap.GetSnapshot().GetSnapshotId(), snap.GetSnapshot().GetSizeBytes()
	d.did("snapshot", "%s; then labels.txt was changed", id)

	window, err := d.create(ctx, "before-relabel-window", size, stack.ReadOnly, id)
	if err != nil {
		return err
	}
	if err := b.Mount(ctx, window, "window", stack.ReadOnly); err != nil {
		return err
	}
	if err := expect(filepath.Join(b.Target("window"), "labels.txt"), "before\n"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.Target("window"), "x"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("a volume served from a snapshot took a write: %v", err)
	}
	d.did("served from it", "a read-only volume on %s shows the old labels.txt; nothing was copied", b.Name)

	restored, err := d.create(ctx, "restored", size, stack.Shared, id)
	if err != nil {
		return err
	}
	if err := b.Mount(ctx, restored, "restored", stack.Shared); err != nil {
		return err
	}
	if err := expect(filepath.Join(b.Target("restored"), "labels.txt"), "before\n"); err != nil {
		return err
	}
	d.did("restored", "into a new volume on %s: old labels.txt and %d MiB", b.Name, dataSize/mib)

	for name, v := range map[string]*csi.Volume{"window": window, "restored": restored} {
		if err := b.Unmount(ctx, v, name); err != nil {
			return err
		}
		if _, err := d.Controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()}); err != nil {
			return err
		}
	}
	_, err = d.Controller.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id})
	return err
}

// survive kills strata-node under a reader and a writer.
func (d *demo) survive(ctx context.Context) error {
	a := d.Nodes[0]
	f, err := os.Create(filepath.Join(a.Target(dataset), "log"))
	if err != nil {
		return err
	}
	defer f.Close()
	a.Kill()
	if _, err := f.WriteString("written while strata-node was dead\n"); err != nil {
		return fmt.Errorf("write without strata-node: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write without strata-node: %w", err)
	}
	if err := a.Start(ctx); err != nil {
		return err
	}
	d.did("strata-node killed", "with SIGKILL on %s: an open file was written on, and the new process found the mount", a.Name)
	return nil
}

// remove stops the pods and deletes the volume.
func (d *demo) remove(ctx context.Context) error {
	for _, n := range d.Nodes {
		if err := n.Unmount(ctx, team, dataset); err != nil {
			return err
		}
	}
	if _, err := d.Controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: team.GetVolumeId()}); err != nil {
		return err
	}
	d.did("deleted", "the volume; nothing of it is left")
	return nil
}

func sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func expect(path, want string) error {
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("%s holds %q, not %q", path, got, want)
	}
	return nil
}

// table says what was done.
func (d *demo) table() {
	width := 0
	for _, r := range d.rows {
		width = max(width, len(r[0]))
	}
	fmt.Println("\nWhat the demo did\n" + strings.Repeat("-", 17))
	for _, r := range d.rows {
		fmt.Printf("%-*s  %s\n", width, r[0], r[1])
	}
	fmt.Println()
}

// lookAround says what is there while the demo waits.
func (d *demo) lookAround() {
	fmt.Printf("Ceph, the controller and both nodes go on until ctrl-C. To look around:\n"+
		"  ceph --conf %[1]s/ceph/ceph.conf --keyring %[1]s/ceph/ceph.client.admin.keyring -s\n"+
		"  tail -f %[1]s/*.log\n", d.Dir)
}
