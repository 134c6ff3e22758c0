package client

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	shared     = volume.ID("cold:127.0.0.1_9000_http:data:team:vol")
	other      = volume.ID("cold:127.0.0.1_9000_http:data:team:other")
	testSecret = "sentinelSecretAccessKeyThatMustNotLeak"
)

func secrets() map[string]string {
	return map[string]string{secret.KeyAccessKeyID: "key", secret.KeySecretAccessKey: testSecret}
}

// fakeHolder mounts a FUSE file system that this process serves. It shows a directory.
type fakeHolder struct {
	dir     string
	fail    error // of Start
	renewal error // of Renew
	unheard error // of Status
	serving []string
	status  *mountd.Status

	started []mountd.Spec
	secrets []string
	kept    [][]byte // the secrets' own bytes, as a holder must not keep them
	renewed []string
	ended   []string
}

func (f *fakeHolder) Start(_ context.Context, s mountd.Spec, secret []byte) error {
	f.started, f.secrets, f.kept = append(f.started, s), append(f.secrets, string(secret)), append(f.kept, secret)
	if f.fail != nil {
		return f.fail
	}
	var c config.Config
	if err := json.Unmarshal(s.Engine, &c); err != nil {
		return err
	}
	var group uint32
	if c.MountGroup != nil {
		group = *c.MountGroup
	}
	fd, err := mount(s.Source, s.Mountpoint, s.ReadOnly, group)
	if err != nil {
		return err
	}
	root, err := fs.NewLoopbackRoot(f.dir)
	if err != nil {
		return err
	}
	// With such a path the connection is one that is mounted already.
	server, err := fuse.NewServer(fs.NewNodeFS(root, &fs.Options{}), fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{})
	if err != nil {
		return err
	}
	go server.Serve()
	return server.WaitMount()
}

// deadMount makes a mount as that of an engine which has ended.
func deadMount(t *testing.T, id volume.ID, path string) {
	t.Helper()
	fd, err := mount(sourceOf(id), path, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}

// mount makes a mount as an engine's that nobody serves.
func mount(source, path string, readOnly bool, group uint32) (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	var flags uintptr
	if readOnly {
		flags = unix.MS_RDONLY
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=%d,allow_other", fd, group)
	return fd, unix.Mount(source, path, fsType, flags, data)
}

func (f *fakeHolder) Renew(_ context.Context, _ string, secret []byte) error {
	f.renewed = append(f.renewed, string(secret))
	return f.renewal
}

func (f *fakeHolder) Unmounted(_ context.Context, path string) error {
	f.ended = append(f.ended, path)
	return nil
}

func (f *fakeHolder) Serving(context.Context, string) ([]string, error) { return f.serving, nil }

func (f *fakeHolder) Status(context.Context, string) (mountd.Status, bool, error) {
	if f.status == nil {
		return mountd.Status{}, false, f.unheard
	}
	return *f.status, true, f.unheard
}

func (f *fakeHolder) Fate(context.Context, string) string { return "killed by a test" }

type fixture struct {
	*Stager
	holder *fakeHolder
	dir    string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	mountpointtest.RequireRoot(t)
	p := mountpoint.NewProber(0)
	f := &fixture{holder: &fakeHolder{dir: t.TempDir()}, dir: filepath.Join(t.TempDir(), "stage")}
	var err error
	if f.Stager, err = New(Config{Holder: f.holder, Prober: p, Unmounter: mountpoint.NewUnmounter(p)}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for unix.Unmount(f.dir, unix.MNT_DETACH) == nil {
		}
	})
	return f
}

func (f *fixture) spec() tier.StageSpec {
	return tier.StageSpec{ID: shared, Path: f.dir, Context: volumeContext(), Secrets: secrets()}
}

// engineOf is what an engine would be told.
func engineOf(t *testing.T, s mountd.Spec, into any) {
	t.Helper()
	if err := json.Unmarshal(s.Engine, into); err != nil {
		t.Fatalf("%v in %s", err, s.Engine)
	}
}
