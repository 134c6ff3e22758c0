package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestMountsUnder(t *testing.T) {
	const mountinfo = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:30 / /d/mnt/a rw - fuse.ceph-fuse ceph-fuse rw
41 22 0:31 / /d2/mnt rw - tmpfs tmpfs rw
42 40 0:32 / /d/mnt/a/with\040space rw - tmpfs tmpfs rw
43 22 0:33 / /d rw - tmpfs tmpfs rw
`
	want := []string{"/d/mnt/a", "/d/mnt/a/with space"}
	if got := mountsUnder(mountinfo, "/d"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDestroyTakesUpAnInterruptedRemoval(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(l Layout) error
	}{
		{"no directory", func(Layout) error { return nil }},
		{"empty directory", func(l Layout) error { return os.Mkdir(l.Dir, 0o755) }},
		{"marker only", func(l Layout) error { return l.writeMarker(marker{PortBase: 1}) }},
		{"marker cut short", func(l Layout) error {
			return errors.Join(l.writeMarker(marker{}), os.WriteFile(l.marker(), []byte("{"), 0o600))
		}},
		{"marker and data", func(l Layout) error {
			return errors.Join(l.writeMarker(marker{}), writeFiles(l, "00000000-0000-4000-8000-000000000000", nil), writeFile(l.ready(), nil, 0o600))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := testLayout(t)
			if err := c.make(l); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := destroy(t.Context(), l, newProgress(t.Output())); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(l.Dir); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the directory is there: %v", err)
				}
			}
		})
	}
}

func TestOneStartAtATime(t *testing.T) {
	l, say := testLayout(t), newProgress(t.Output())
	release, err := lockCluster(t.Context(), l, say)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := lockCluster(short, l, say); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second lock: %v, want it to wait", err)
	}
	got := make(chan error)
	go func() {
		second, err := lockCluster(t.Context(), l, say)
		if err == nil {
			second()
		}
		got <- err
	}()
	release()
	if err := <-got; err != nil {
		t.Errorf("after the release: %v", err)
	}
	if left, err := filepath.Glob(filepath.Dir(l.Dir) + "/*"); err != nil || len(left) != 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}
