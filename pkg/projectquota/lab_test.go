//go:build lab

package projectquota

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLimits runs with both system calls: that of kernels since 5.14, and the older one with the device.
func TestLimits(t *testing.T) {
	dir, quotas := place(t)
	if !quotas {
		t.Fatal("STRATA_XFS_PRJQUOTA_DIR isn't set: tests/kernel runs this test in an emulated machine")
	}
	for i, byDevice := range []bool{false, true} {
		q, err := Open(dir, os.Getenv("STRATA_XFS_PRJQUOTA_DEVICE"))
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		q.byDevice.Store(byDevice)
		id := uint32(4000 + i)
		if s, err := q.State(); err != nil || !s.Accounting || !s.Enforcing {
			t.Fatalf("state: %+v, %v", s, err)
		}
		if u, err := q.Usage(id); err != nil || u != (Usage{}) {
			t.Errorf("a project nobody knows: %+v, %v", u, err)
		}
		limits := Limits{Bytes: 8 << 20, Inodes: 10}
		if err := q.Limit(id, limits); err != nil {
			t.Fatal(err)
		}
		own := filepath.Join(dir, "limited")
		if err := os.Mkdir(own, 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(own)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(SetAttr(f, Attr{Project: id, Inherit: true}), f.Close()); err != nil {
			t.Fatal(err)
		}
		full := func(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
		if err := os.WriteFile(filepath.Join(own, "big"), make([]byte, 9<<20), 0o600); !full(err) {
			t.Errorf("9 MiB within 8: %v", err)
		}
		if u, err := q.Usage(id); err != nil || u.Limits != limits || u.Bytes > 8<<20 || u.Bytes < 7<<20 || u.Inodes != 2 {
			t.Errorf("usage: %+v, %v", u, err)
		}
		// XFS makes no inode, which may need a block, for a project without space.
		if err := os.Truncate(filepath.Join(own, "big"), 0); err != nil {
			t.Fatal(err)
		}
		for n := range 8 {
			if err := os.WriteFile(filepath.Join(own, string(rune('a'+n))), nil, 0o600); err != nil {
				t.Errorf("inode %d of 10: %v", n+3, err)
			}
		}
		if err := os.WriteFile(filepath.Join(own, "x"), nil, 0o600); !full(err) {
			t.Errorf("inode 11 of 10: %v", err)
		}
		if err := errors.Join(os.RemoveAll(own), q.Limit(id, Limits{})); err != nil {
			t.Fatal(err)
		}
		// XFS gives inodes back in the background.
		var u Usage
		for range 100 {
			if u, err = q.Usage(id); err != nil || u == (Usage{}) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err != nil || u != (Usage{}) {
			t.Errorf("cleared: %+v, %v", u, err)
		}
	}
}
