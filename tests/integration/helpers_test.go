// Package integration tests the programs of Strata, as an orchestrator would use them, on a real Ceph.
package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/strata-csi/strata/tests/harness"
)

const mib = int64(1) << 20

// call bounds one CSI call.
func call(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func wantCode(t testing.TB, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("code %s (%v), want %s", got, err, want)
	}
}

// wantText says that an error's message holds every one of words.
func wantText(t testing.TB, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(status.Convert(err).Message(), w) {
			t.Errorf("the message doesn't say %q: %v", w, err)
		}
	}
}

// patiently repeats a call while its operation is pending, as the sidecars do.
func patiently[T any](t testing.TB, do func() (T, error)) (T, error) {
	t.Helper()
	var out T
	var err error
	harness.Eventually(t, "the operation ends", harness.Patience, func() error {
		out, err = do()
		if status.Code(err) == codes.Aborted {
			return err
		}
		return nil
	})
	return out, err
}

// create makes a volume and waits for its first content.
func create(t testing.TB, c csi.ControllerClient, req *csi.CreateVolumeRequest) *csi.Volume {
	t.Helper()
	resp, err := patiently(t, func() (*csi.CreateVolumeResponse, error) { return c.CreateVolume(call(t), req) })
	if err != nil {
		t.Fatalf("create %q: %v", req.GetName(), err)
	}
	return resp.GetVolume()
}

func remove(t testing.TB, c csi.ControllerClient, volumes ...*csi.Volume) {
	t.Helper()
	for _, v := range volumes {
		if _, err := c.DeleteVolume(call(t), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()}); err != nil {
			t.Errorf("delete %s: %v", v.GetVolumeId(), err)
		}
	}
}

func snapshot(t testing.TB, c csi.ControllerClient, name string, of *csi.Volume) *csi.Snapshot {
	t.Helper()
	resp, err := c.CreateSnapshot(call(t), snapshotRequest(name, of))
	if err != nil {
		t.Fatalf("snapshot %q: %v", name, err)
	}
	if !resp.GetSnapshot().GetReadyToUse() {
		t.Errorf("snapshot %q isn't ready", name)
	}
	return resp.GetSnapshot()
}

func snapshotRequest(name string, of *csi.Volume) *csi.CreateSnapshotRequest {
	return &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: of.GetVolumeId()}
}

func unsnapshot(t testing.TB, c csi.ControllerClient, snapshots ...*csi.Snapshot) {
	t.Helper()
	for _, s := range snapshots {
		if _, err := c.DeleteSnapshot(call(t), &csi.DeleteSnapshotRequest{SnapshotId: s.GetSnapshotId()}); err != nil {
			t.Errorf("delete %s: %v", s.GetSnapshotId(), err)
		}
	}
}

// from makes a request one for a copy of a volume or snapshot.
func from(req *csi.CreateVolumeRequest, source any) *csi.CreateVolumeRequest {
	switch s := source.(type) {
	case *csi.Volume:
		req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: s.GetVolumeId()}}}
	case *csi.Snapshot:
		req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: s.GetSnapshotId()}}}
	}
	return req
}

// readOnly makes a request one for readers on many nodes.
func readOnly(req *csi.CreateVolumeRequest) *csi.CreateVolumeRequest {
	req.VolumeCapabilities = harness.Capabilities(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)
	return req
}

// dataPath is where a volume's files are, below a mount of the whole file system.
func dataPath(root string, v *csi.Volume) string { return root + v.GetVolumeContext()["path"] }

// place is the group and the name of a volume's subvolume.
func place(v *csi.Volume) (group, name string) {
	parts := strings.Split(v.GetVolumeId(), ":")
	return parts[3], parts[4]
}

// fill writes a small tree with all that a copy has to keep, and makes it durable.
func fill(t testing.TB, dir string, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 12 {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", i%3))
		if err := os.MkdirAll(sub, 0o750); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, r.IntN(300_000))
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		writeFile(t, filepath.Join(sub, fmt.Sprintf("f%d", i)), data)
	}
	writeFile(t, filepath.Join(dir, "größe und 空白"), []byte("unicode"))
	writeFile(t, filepath.Join(dir, "script"), []byte("#!/bin/sh\n"))
	for _, err := range []error{
		os.Symlink("d0/f0", filepath.Join(dir, "link")),
		os.Chmod(filepath.Join(dir, "script"), 0o755),
		os.Chown(filepath.Join(dir, "script"), 1234, 5678),
		os.MkdirAll(filepath.Join(dir, "empty"), 0o700),
	} {
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
}

// writeFile writes and syncs.
func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// tree sums up everything below dir: kind, mode, owner and content by path.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if rel == "." {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		uid, gid := owner(info)
		line := fmt.Sprintf("%s %d:%d", info.Mode(), uid, gid)
		switch {
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + to
		case d.Type().IsRegular():
			sum, err := sumFile(path)
			if err != nil {
				return err
			}
			line += " " + sum
		}
		out[rel] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// wantTree compares trees. Its words make a failure one that isn't repeated (docs/decisions/0020).
func wantTree(t testing.TB, got, want map[string]string) {
	t.Helper()
	if len(want) == 0 {
		t.Error("there is nothing to compare with")
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if got[path] != want[path] {
			t.Errorf("DATA MISMATCH: %s: %q, want %q", path, got[path], want[path])
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("DATA MISMATCH: %s is one too many", path)
		}
	}
}

// tenAtOnce makes the same call ten times at once and demands one answer.
func tenAtOnce[T proto.Message](t testing.TB, what string, do func() (T, error)) T {
	t.Helper()
	const n = 10
	var answers [n]T
	var errs [n]error
	var group sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-begin
			answers[i], errs[i] = do()
		})
	}
	close(begin)
	group.Wait()
	for i := range n {
		if errs[i] != nil {
			t.Fatalf("%s, %d of %d at once: %v", what, i, n, errs[i])
		}
		if !proto.Equal(answers[i], answers[0]) {
			t.Fatalf("%s: at once, one got %v, another %v", what, answers[0], answers[i])
		}
	}
	return answers[0]
}

// wantNothingLeft fails when anything of the prefix stays in the file system. The husk of a volume whose last snapshot went may wait
// for the manager to empty its trash.
func wantNothingLeft(t testing.TB, ceph *harness.Ceph, root string, prefix harness.Prefix) {
	t.Helper()
	harness.Eventually(t, "no subvolume is left", harness.Patience, func() error {
		if left := ceph.Subvolumes(t, prefix); len(left) > 0 {
			return fmt.Errorf("there are %v", left)
		}
		return nil
	})
	for _, path := range harness.Index(t, root, prefix) {
		// The directories of the teams stay; what is in them must not.
		if strings.HasPrefix(path, "snapshots/") || strings.Count(path, "/") > 1 {
			t.Errorf("left over in the index: %s", path)
		}
	}
}
