package scratch

// A disk of tmpfs mounts: it has no device to fail, so a test can make every step of it fail.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

type fakeDisk struct {
	name     string
	capacity int64

	mu      sync.Mutex
	volumes map[string]int64 // sizes
	made    int              // how often Create succeeded
	wiped   []disk.Wipe
	fail    map[string]error // by operation
	// destroying, if set, is called within Destroy, when the volume is half gone.
	destroying func()
	broken     map[string]bool // half destroyed: can't be mounted
	conditions []volume.Condition
}

func newFakeDisk(name string, capacity int64) *fakeDisk {
	return &fakeDisk{name: name, capacity: capacity, volumes: map[string]int64{}, fail: map[string]error{}, broken: map[string]bool{}}
}

func (f *fakeDisk) do(operation string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail[operation]
}

func (f *fakeDisk) failing(operation string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[operation] = err
}

func (f *fakeDisk) Kind() disk.Kind { return disk.Loop }
func (f *fakeDisk) Name() string    { return f.name }

func (f *fakeDisk) CheckSpec(s disk.Spec) error {
	if s.FSType == "xfs" {
		return fmt.Errorf("%w: no xfs here", volume.ErrInvalid)
	}
	return disk.CheckName(s.Name)
}

func (f *fakeDisk) Capacity(context.Context) (int64, error) { return f.capacity, f.do("Capacity") }

func (f *fakeDisk) Create(_ context.Context, s disk.Spec) error {
	if err := f.do("Create"); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.volumes[s.Name] = s.Size
	delete(f.broken, s.Name)
	f.made++
	return nil
}

func (f *fakeDisk) Mount(_ context.Context, name string, m disk.Mount) error {
	if err := f.do("Mount"); err != nil {
		return err
	}
	f.mu.Lock()
	size, ok := f.volumes[name]
	broken := f.broken[name]
	f.mu.Unlock()
	if !ok {
		return volume.ErrNotFound
	}
	if broken {
		return errors.New("this volume was half destroyed")
	}
	var flags uintptr
	if m.ReadOnly {
		flags = unix.MS_RDONLY
	}
	return unix.Mount("fake-"+name, m.Path, "tmpfs", flags, fmt.Sprintf("size=%d", size))
}

func (f *fakeDisk) Attach(_ context.Context, name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.volumes[name]; !ok {
		return "", volume.ErrNotFound
	}
	return "/dev/null", f.fail["Attach"]
}

func (f *fakeDisk) Mounted(_ context.Context, name, path string) error {
	m, ok, err := mountpoint.Find(path)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	case m.Source != "fake-"+name:
		return fmt.Errorf("%w: %s is mounted at %s", volume.ErrExists, m.Source, path)
	}
	return nil
}

func (f *fakeDisk) Grow(_ context.Context, name, path string, size int64) error {
	if err := f.do("Grow"); err != nil {
		return err
	}
	f.mu.Lock()
	f.volumes[name] = max(size, f.volumes[name])
	f.mu.Unlock()
	if path == "" {
		return nil
	}
	return unix.Mount("", path, "", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size))
}

func (f *fakeDisk) Destroy(_ context.Context, name string, wipe disk.Wipe) error {
	if f.destroying != nil {
		f.destroying()
	}
	if err := f.do("Destroy"); err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.broken[name] = true
		return err
	}
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	for _, m := range table {
		if m.Source == "fake-"+name {
			return fmt.Errorf("%w: mounted at %s", volume.ErrUnavailable, m.Path)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.volumes, name)
	f.wiped = append(f.wiped, wipe)
	return nil
}

func (f *fakeDisk) List(context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for n := range f.volumes {
		names = append(names, n)
	}
	return names, f.fail["List"]
}

func (f *fakeDisk) Usage(_ context.Context, name, _ string) (volume.Usage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return volume.Usage{TotalBytes: f.volumes[name]}, nil
}

func (f *fakeDisk) Health(context.Context, string, string) ([]volume.Condition, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conditions, f.fail["Health"]
}

// unwell makes every volume on the disk show these conditions.
func (f *fakeDisk) unwell(conditions ...volume.Condition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conditions = conditions
}

func (f *fakeDisk) Close() error { return nil }

// has tells whether the disk holds a volume of an id, and its size.
func (f *fakeDisk) has(t *testing.T, id string) (int64, bool) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	size, ok := f.volumes[nameOf(id)]
	return size, ok
}
