package cold

// What every test of the suite uses: a store, a controller, two nodes.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/tests/harness"
)

const mib = int64(1) << 20

// reader is the access mode of a volume that is only read.
const reader = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY

type fixture struct {
	*harness.ColdController
	t      *testing.T
	server *s3test.Server
	bucket *s3.Bucket // what another S3 tool sees
	a, b   *harness.Node
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	t.Parallel() // each has its own store and nodes, and waits for them most of the time
	server := s3test.Start(t)
	bucket := server.Open(t, server.Endpoint, "team", s3.Options{})
	must(t, bucket.Create(t.Context()))
	return &fixture{ColdController: harness.NewColdController(t, server, "team"), t: t, server: server, bucket: bucket,
		a: harness.NewColdNode(t, server, "a"), b: harness.NewColdNode(t, server, "b")}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func call(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	t.Cleanup(cancel)
	return ctx
}

func wantCode(t *testing.T, err error, code codes.Code, words ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q doesn't say %q", err, w)
		}
	}
}

// volume makes a volume, and removes it with the test.
func (f *fixture) volume(name string, size int64, more ...string) *csi.Volume {
	f.t.Helper()
	resp, err := f.CreateVolume(call(f.t), f.Request(name, size, more...))
	must(f.t, err)
	return resp.GetVolume()
}

// remove deletes a volume and wants nothing of it to be left in the bucket.
func (f *fixture) remove(v *csi.Volume) {
	f.t.Helper()
	_, err := f.DeleteVolume(call(f.t), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId(), Secrets: f.Secrets})
	must(f.t, err)
	if left := f.keys(v.GetVolumeContext()["prefix"]); len(left) > 0 {
		f.t.Errorf("left in the bucket: %v", left)
	}
	uploads, err := f.bucket.Uploads(call(f.t), v.GetVolumeContext()["prefix"])
	must(f.t, err)
	if len(uploads) > 0 {
		f.t.Errorf("left in the bucket: uploads %v", uploads)
	}
}

// keys are those of all objects below a prefix.
func (f *fixture) keys(prefix string) []string {
	f.t.Helper()
	page, err := f.bucket.List(call(f.t), s3.ListRequest{Prefix: prefix})
	must(f.t, err)
	var keys []string
	for _, o := range page.Objects {
		keys = append(keys, o.Key)
	}
	return keys
}

// object is the content of an object of a volume, as any S3 tool reads it.
func (f *fixture) object(v *csi.Volume, name string) string {
	f.t.Helper()
	key := v.GetVolumeContext()["prefix"] + name
	o, err := f.bucket.Head(call(f.t), key)
	must(f.t, err)
	body, err := f.bucket.Get(call(f.t), key, o.ETag, 0, o.Size)
	must(f.t, err)
	defer body.Close()
	raw := make([]byte, o.Size)
	for n := 0; n < len(raw); {
		k, err := body.Read(raw[n:])
		if n += k; err != nil && n < len(raw) {
			f.t.Fatal(err)
		}
	}
	return string(raw)
}

// nothingLeft wants a node without mounts, engines, records, and staged files. failed are the volumes that could not be staged: the log that may say why is kept.
func nothingLeft(t *testing.T, n *harness.Node, failed ...string) {
	t.Helper()
	if m := n.Mounts(); len(m) > 0 {
		t.Errorf("%s: mounted still: %v", n.ID, m)
	}
	if c := n.Clients(); len(c) > 0 {
		t.Errorf("%s: known still: %v", n.ID, c)
	}
	for glob, kept := range map[string]int{"state/*.json*": 0, "log/*.log": len(failed), "log/*.old": 0} {
		if left, _ := filepath.Glob(filepath.Join(n.Dir, glob)); len(left) != kept {
			t.Errorf("%s: left over: %v", n.ID, left)
		}
	}
	for _, file := range staged(t, n) {
		t.Errorf("%s: left over: %s", n.ID, file)
	}
}

// staged are the files under way that a node has in its cache directory.
func staged(t *testing.T, n *harness.Node) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(n.Dir, "cache", "staged"), func(path string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil && d.Type().IsRegular() {
			if info, statErr := d.Info(); statErr == nil && info.Size() > 0 {
				files = append(files, path)
			}
		}
		return err
	})
	must(t, err)
	return files
}

// engine is what a node's holder knows of the engine of a staged volume.
func engine(t *testing.T, n *harness.Node, name string) mountd.Status {
	t.Helper()
	s, ok := n.Clients()[n.Staging(name)]
	if !ok {
		t.Fatalf("%s has no engine for %s", n.ID, name)
	}
	return s
}

// reasons are those of what volume health says of a volume at a node's staging path.
func reasons(t *testing.T, n *harness.Node, v *csi.Volume, name string) []string {
	t.Helper()
	resp, err := n.NodeGetVolumeHealth(call(t), &csi.NodeGetVolumeHealthRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: n.Staging(name)})
	must(t, err)
	var all []string
	for _, s := range resp.GetVolumeHealth().GetHealthStatuses() {
		all = append(all, s.GetReason())
	}
	return all
}

func eventuallyReasons(t *testing.T, n *harness.Node, v *csi.Volume, name string, want ...string) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("volume health is %q", want), harness.Patience, func() error {
		if got := reasons(t, n, v, name); !slices.Equal(got, want) {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	if string(got) != want {
		t.Errorf("DATA MISMATCH: %s has %q, want %q", path, shorten(string(got)), shorten(want))
	}
}

func shorten(s string) string { return s[:min(len(s), 60)] }

// unpublish undoes Publish.
func unpublish(t *testing.T, n *harness.Node, v *csi.Volume, pod string) {
	t.Helper()
	_, err := n.NodeUnpublishVolume(call(t), &csi.NodeUnpublishVolumeRequest{VolumeId: v.GetVolumeId(), TargetPath: n.Target(pod)})
	must(t, err)
}

// within asks in a bounded time, so that what hangs fails the test and not its whole run.
func within(t *testing.T, what string, do func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(harness.Patience):
		t.Fatalf("%s hangs", what)
		return nil
	}
}
