package client

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	writable = volume.ID("warm:lab:fs1:team:vol")
	snapped  = volume.ID("warm:lab:fs1:team:view:ro")
	testKey  = "AQBSecretSecretSecret=="
)

func writableContext() map[string]string {
	return map[string]string{"tier": "warm", "clusterID": "lab", "fsName": "fs1", "path": "/volumes/team/vol/5e1f"}
}

func snapContext() map[string]string {
	return map[string]string{"tier": "warm", "clusterID": "lab", "fsName": "fs1",
		"path": "/volumes/team/other/.snap/s_1/5e1f", "readOnly": "true"}
}

// fakeMounter mounts a tmpfs that shows the source it is asked for. Snapshots, as NAME/UUID, are directories below .snap.
type fakeMounter struct {
	snapshots   []string
	unavailable error
	options     []string // that it takes
	fail        error    // of Mount
	serving     []string

	mounts []Mount
	keys   []string
	kept   [][]byte // the keys' own bytes, as a mounter must not keep them
	ended  []string
}

func (f *fakeMounter) Available(context.Context) error { return f.unavailable }

func (f *fakeMounter) CheckOptions(options []string) error {
	for _, o := range options {
		if !slices.Contains(f.options, o) {
			return fmt.Errorf("%w: unknown option %q", volume.ErrInvalid, o)
		}
	}
	return nil
}

func (f *fakeMounter) Mount(_ context.Context, m Mount, key []byte) error {
	f.mounts, f.keys, f.kept = append(f.mounts, m), append(f.keys, string(key)), append(f.kept, key)
	if f.fail != nil {
		return f.fail
	}
	if err := unix.Mount(m.Source, m.Target, "tmpfs", 0, "size=1m"); err != nil {
		return err
	}
	for _, s := range f.snapshots {
		if err := os.MkdirAll(filepath.Join(m.Target, ".snap", s), 0o755); err != nil {
			return err
		}
	}
	if m.ReadOnly {
		return unix.Mount("", m.Target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return nil
}

func (f *fakeMounter) Serving(context.Context, string) ([]string, error) { return f.serving, nil }

func (f *fakeMounter) Unmounted(_ context.Context, target string) error {
	f.ended = append(f.ended, target)
	return nil
}

func (f *fakeMounter) Fate(context.Context, string) string { return "killed by a test" }

type fakeClusters map[string][]string

func (c fakeClusters) Monitors(id string) ([]string, error) {
	m, ok := c[id]
	if !ok {
		return nil, fmt.Errorf("%w: cluster %q is not configured", volume.ErrInvalid, id)
	}
	return m, nil
}

type fixture struct {
	*Stager
	kernel, fuse *fakeMounter
	dir          string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	mountpointtest.RequireRoot(t)
	p := mountpoint.NewProber(0)
	f := &fixture{
		kernel: &fakeMounter{unavailable: fmt.Errorf("%w: no kernel client", volume.ErrPrecondition), options: []string{"noatime", "wsize=4096"}},
		fuse:   &fakeMounter{options: []string{"noatime", "big_writes"}, snapshots: []string{"s_1/5e1f", "other/5e1f"}},
		dir:    filepath.Join(t.TempDir(), "stage"),
	}
	s, err := New(Config{Clusters: fakeClusters{"lab": {"127.0.0.1:3300"}}, Kernel: f.kernel, Fuse: f.fuse, Prober: p, Unmounter: mountpoint.NewUnmounter(p)})
	if err != nil {
		t.Fatal(err)
	}
	s.fuseTypes = append(s.fuseTypes, "tmpfs") // as the fake mounts
	f.Stager = s
	if err := os.Mkdir(f.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for unix.Unmount(f.dir, unix.MNT_DETACH) == nil {
		}
	})
	return f
}

func secrets() map[string]string { return map[string]string{"userID": "u1", "userKey": testKey} }

func (f *fixture) spec() tier.StageSpec {
	return tier.StageSpec{ID: writable, Path: f.dir, Context: writableContext(), Secrets: secrets()}
}

func (f *fixture) snapSpec() tier.StageSpec {
	return tier.StageSpec{ID: snapped, Path: f.dir, Context: snapContext(), Secrets: secrets()}
}

// fuseMount makes a FUSE mount as the volume's ceph-fuse would, that never answers; dead: that has lost its server.
func fuseMount(t *testing.T, id volume.ID, path string, dead bool) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount(sourceOf(id), path, "fuse", 0, data); err != nil {
		t.Fatal(err)
	}
	if dead {
		unix.Close(fd)
		return
	}
	t.Cleanup(func() { unix.Close(fd) })
}
