//go:build lab

package xfs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/disk/disktest"
)

func TestDisk(t *testing.T) {
	dir := quotaDir(t)
	home := filepath.Join(dir, homeName)
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// making is what Create has made before a step.
	making := func(limited, data bool) func(*testing.T, string) {
		return func(t *testing.T, name string) {
			at := filepath.Join(home, makingPrefix+name)
			must(t, os.Mkdir(at, 0o700))
			d, err := open(dir)
			must(t, err)
			defer d.Close()
			id, err := d.free()
			must(t, err)
			f, err := os.Open(at)
			must(t, err)
			must(t, projectquota.SetAttr(f, projectquota.Attr{Project: id, Inherit: true}))
			must(t, f.Close())
			if limited {
				must(t, d.quota.Limit(id, limitsOf(64<<20)))
			}
			if data {
				must(t, os.Mkdir(filepath.Join(at, dataName), 0o755))
			}
		}
	}
	disktest.Conform(t, disktest.Subject{
		Open:    func(t *testing.T) disk.Disk { return openDisk(t, dir) },
		FSTypes: []string{"xfs"},
		Grows:   true,
		Escapes: []disktest.Attack{disktest.Project},
		Leftovers: []disktest.Leftover{
			{Name: "a directory", Make: func(t *testing.T, name string) { must(t, os.Mkdir(filepath.Join(home, makingPrefix+name), 0o700)) }},
			{Name: "with a project", Make: making(false, false)},
			{Name: "with limits", Make: making(true, false)},
			{Name: "all but its name", Make: making(true, true)},
			{Name: "renamed and full", Make: func(t *testing.T, name string) {
				making(true, true)(t, name)
				must(t, os.WriteFile(filepath.Join(home, makingPrefix+name, dataName, "x"), make([]byte, 1<<20), 0o600))
				must(t, os.Rename(filepath.Join(home, makingPrefix+name), filepath.Join(home, gonePrefix+name)))
			}},
			{Name: "renamed, while a new one was begun", Make: func(t *testing.T, name string) {
				making(true, true)(t, name)
				must(t, os.Rename(filepath.Join(home, makingPrefix+name), filepath.Join(home, gonePrefix+name)))
				making(true, true)(t, name)
			}},
		},
		Leaks: func(t *testing.T) []string {
			d, err := open(dir)
			must(t, err)
			defer d.Close()
			must(t, d.release())
			left, err := d.entries()
			must(t, err)
			for id := uint32(firstProject); id < firstProject+32; id++ {
				u, err := d.quota.Usage(id)
				must(t, err)
				if u != (projectquota.Usage{}) {
					left = append(left, "a project with usage or limits")
				}
			}
			return left
		},
	})
}

// TestStatfs: df in the pod shows the volume's limits, not the disk.
func TestStatfs(t *testing.T) {
	d := openDisk(t, quotaDir(t))
	path := mounted(t, d, "shown", 64<<20)
	for _, size := range []int64{64 << 20, 96 << 20} {
		if err := d.Grow(t.Context(), "shown", path, size); err != nil {
			t.Fatal(err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err != nil {
			t.Fatal(err)
		}
		if got := int64(st.Blocks) * st.Bsize; got != size || int64(st.Files) != size/bytesPerInode {
			t.Errorf("a volume of %d bytes shows %d bytes and %d inodes", size, got, st.Files)
		}
	}
	// The limit of inodes holds too, and root is not exempt from it.
	made := 0
	var err error
	for ; made <= 96<<20/bytesPerInode && err == nil; made++ {
		err = unix.Mkfifo(filepath.Join(path, strings.Repeat("f", 1+made%200)+"-"+string(rune('a'+made/200))), 0o600)
	}
	if err != unix.ENOSPC && err != unix.EDQUOT {
		t.Errorf("after %d files: %v", made, err)
	}
}

// TestOpenFilesStayLimited: a file that is open when its volume is destroyed keeps its limit, and its project number, until it is closed.
func TestOpenFilesStayLimited(t *testing.T) {
	d := openDisk(t, quotaDir(t))
	path := mounted(t, d, "held", 16<<20)
	id, err := d.volume("held")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(path, "open"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	// As a process in another mount namespace has it, which Destroy can't see.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if err := d.Destroy(t.Context(), "held", disk.WipeNone); err != nil {
		t.Fatal(err)
	}
	if names, err := d.List(t.Context()); err != nil || len(names) > 0 {
		t.Errorf("List: %q, %v", names, err)
	}
	if u, err := d.quota.Usage(id); err != nil || u.Limits.Bytes != 16<<20 || u.Bytes < 1<<20 {
		t.Errorf("the open file has %+v, %v", u, err)
	}
	if _, err := f.Write(make([]byte, 16<<20)); err == nil {
		t.Error("the open file took more than the volume had")
	}
	if err := d.Create(t.Context(), disk.Spec{Name: "next", Size: 16 << 20}); err != nil {
		t.Fatal(err)
	}
	if next, err := d.volume("next"); err != nil || next == id {
		t.Errorf("the next volume has project %d, %v", next, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Destroy(t.Context(), "next", disk.WipeNone); err != nil {
		t.Fatal(err)
	}
	if err := d.settled(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := d.release(); err != nil {
		t.Fatal(err)
	}
	cleared(t, d, id)
	if left, err := d.entries(); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// cleared waits until the file system knows nothing of a project: XFS gives inodes back in the background.
func cleared(t *testing.T, d *Disk, id uint32) {
	t.Helper()
	var u projectquota.Usage
	var err error
	for range 100 {
		if u, err = d.quota.Usage(id); err != nil || u == (projectquota.Usage{}) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil || u != (projectquota.Usage{}) {
		t.Errorf("project %d has %+v, %v", id, u, err)
	}
}

// mounted makes a volume, mounts it, and takes it away with the test.
func mounted(t *testing.T, d *Disk, name string, size int64) string {
	t.Helper()
	if err := d.Create(t.Context(), disk.Spec{Name: name, Size: size}); err != nil {
		t.Fatal(err)
	}
	path := t.TempDir()
	if err := d.Mount(t.Context(), name, disk.Mount{Path: path}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(path, unix.MNT_DETACH)
		if err := d.Destroy(context.Background(), name, disk.WipeNone); err != nil {
			t.Error(err)
		}
	})
	return path
}
