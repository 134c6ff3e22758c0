package disktest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// fixture is one case: an open disk with nothing on it, which is empty again when the case ends.
type fixture struct {
	*testing.T
	Subject
	d        disk.Disk
	capacity int64 // with no volume there
}

func newFixture(t *testing.T, s Subject, run func(*fixture)) {
	f := &fixture{T: t, Subject: s, d: s.Open(t)}
	defer func() { f.ok("close", f.d.Close()) }()
	f.noVolumes("before the case")
	f.capacity = f.capacityNow()
	if f.capacity < 900<<20 {
		t.Fatalf("the disk has %d bytes of capacity; the suite needs 1 GiB", f.capacity)
	}
	// What a failed case leaves must not fail the next one too.
	t.Cleanup(func() { f.clear() })
	run(f)
	if t.Failed() {
		return
	}
	f.noVolumes("after the case")
	f.capacityIsBack()
}

// on is the fixture of a subtest on the same disk.
func (f *fixture) on(name string, run func(*fixture)) {
	f.T.Helper()
	f.Run(name, func(t *testing.T) {
		g := *f
		g.T = t
		t.Cleanup(func() { g.clear() })
		run(&g)
	})
}

func (f *fixture) clear() {
	if !f.Failed() {
		return
	}
	d := f.Open(f.T)
	defer func() { _ = d.Close() }()
	names, err := d.List(f.background())
	f.ok("list what is left", err)
	for _, n := range names {
		f.Logf("left by the failure: %s: %v", n, d.Destroy(f.background(), n, disk.WipeNone))
	}
}

func (f *fixture) ok(what string, err error) {
	f.T.Helper()
	if err != nil {
		f.Fatalf("%s: %v", what, err)
	}
}

func (f *fixture) want(what string, err error, wants ...error) {
	f.T.Helper()
	if !slices.ContainsFunc(wants, func(w error) bool { return errors.Is(err, w) }) {
		f.Fatalf("%s: got error %v, want %v", what, err, wants)
	}
	if len(err.Error()) < 20 {
		f.Errorf("%s: %q says too little", what, err)
	}
}

func (f *fixture) capacityNow() int64 {
	f.T.Helper()
	c, err := f.d.Capacity(f.Context())
	f.ok("capacity", err)
	return c
}

// capacityIsBack waits for file systems that free space in the background.
func (f *fixture) capacityIsBack() {
	f.T.Helper()
	var now int64
	for range 1200 {
		if now = f.capacityNow(); max(now-f.capacity, f.capacity-now) <= f.Slack {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.Errorf("the capacity was %d bytes before and is %d now", f.capacity, now)
}

func (f *fixture) noVolumes(when string) {
	f.T.Helper()
	f.listed(when)
	if f.Leaks == nil {
		return
	}
	// The kernel takes a device away after the last close, not within it.
	var left []string
	for range 600 {
		if left = f.Leaks(f.T); len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.Fatalf("%s: left on the machine: %q", when, left)
}

func (f *fixture) listed(when string, want ...string) {
	f.T.Helper()
	got, err := f.d.List(f.Context())
	f.ok("list", err)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.Fatalf("%s: List = %q, want %q", when, got, want)
	}
}

func (f *fixture) create(name string, size int64) {
	f.T.Helper()
	f.ok("create "+name, f.d.Create(f.Context(), disk.Spec{Name: name, Size: size}))
}

// dir makes an empty directory that is unmounted when the case ends, if it has to be.
func (f *fixture) dir() string {
	f.T.Helper()
	p := filepath.Join(f.TempDir(), "volume")
	f.ok("mkdir", os.Mkdir(p, 0o755))
	f.Cleanup(func() {
		for unix.Unmount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
			if !f.Failed() {
				f.Errorf("%s was still mounted at the end", p)
			}
		}
	})
	return p
}

func (f *fixture) mount(name string) string {
	f.T.Helper()
	p := f.dir()
	f.ok("mount "+name, f.d.Mount(f.Context(), name, disk.Mount{Path: p}))
	return p
}

func (f *fixture) unmount(path string) {
	f.T.Helper()
	f.ok("unmount "+path, unix.Unmount(path, unix.UMOUNT_NOFOLLOW))
	if m, ok, err := mountpoint.Find(path); err != nil || ok {
		f.Fatalf("after its unmount %s is %v (%v)", path, m, err)
	}
}

func (f *fixture) destroy(name string) {
	f.T.Helper()
	f.ok("destroy "+name, f.d.Destroy(f.Context(), name, disk.WipeNone))
}

// volume makes a volume, mounts it and gives the directory to the tenant.
func (f *fixture) volume(name string, size int64) string {
	f.T.Helper()
	f.create(name, size)
	p := f.mount(name)
	f.handOver(p)
	return p
}

// growing makes and mounts a volume of a type that grows.
func (f *fixture) growing(name string) (path string, size int64) {
	f.T.Helper()
	size = small
	if f.GrowFSType != "" {
		size = f.FSSize
	}
	f.ok("create "+name, f.d.Create(f.Context(), disk.Spec{Name: name, Size: size, FSType: f.GrowFSType}))
	path = f.mount(name)
	f.handOver(path)
	return path, size
}

func (f *fixture) handOver(path string) {
	f.T.Helper()
	f.ok("chown", os.Chown(path, tenantID, tenantID))
}

// end unmounts and destroys a volume.
func (f *fixture) end(name, path string) {
	f.T.Helper()
	f.unmount(path)
	f.destroy(name)
}

// empty is a new file system: nothing in it but what mkfs makes.
func (f *fixture) empty(path string) {
	f.T.Helper()
	entries, err := os.ReadDir(path)
	f.ok("read the volume", err)
	for _, e := range entries {
		if e.Name() != "lost+found" {
			f.Fatalf("the volume isn't empty: it has %s", e.Name())
		}
	}
}

func (f *fixture) writeFile(path, text string) {
	f.T.Helper()
	f.ok("write", os.WriteFile(path, []byte(text), 0o644))
}

func (f *fixture) hasFile(path, text string) {
	f.T.Helper()
	b, err := os.ReadFile(path)
	f.ok("read", err)
	if string(b) != text {
		f.Fatalf("%s holds %d bytes, not the %d that were written", path, len(b), len(text))
	}
}

func (f *fixture) usage(name, path string) volume.Usage {
	f.T.Helper()
	u, err := f.d.Usage(f.Context(), name, path)
	f.ok("usage", err)
	return u
}

func (f *fixture) healthy(name, path string) {
	f.T.Helper()
	c, err := f.d.Health(f.Context(), name, path)
	f.ok("health", err)
	for _, c := range c {
		if c.Severity != volume.Degraded { // a slower way of working is said here too
			f.Errorf("a sound volume is called %s: %s", c.Reason, c.Message)
		}
	}
}

// mib rounds down to whole MiB.
func mib(bytes int64) int64 { return bytes &^ (1<<20 - 1) }

// text is n bytes that tell one volume from another.
func text(name string, n int) string { return strings.Repeat(name+"\n", n/(len(name)+1)+1)[:n] }
