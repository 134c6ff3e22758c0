package coldfs_test

// What is told of a volume whose bucket is gone, and what its programs get.

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs"
	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/s3"
)

// removeBucket removes the bucket and all that is in it, as its owner can.
func (v *volume) removeBucket(t testing.TB) {
	t.Helper()
	page, err := v.bucket.List(t.Context(), s3.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, o := range page.Objects {
		keys = append(keys, o.Key)
	}
	if err := v.bucket.DeleteMany(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	if err := v.bucket.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := v.bucket.Exists(t.Context()); !errors.Is(err, s3.ErrNoBucket) {
		t.Fatalf("the bucket is there: %v", err)
	}
}

// A file isn't gone when all of them are: no program gets ENOENT, and may take it for the truth.
func TestABucketThatIsRemoved(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"asked for each time": 0, "names are kept": time.Hour} {
		t.Run(name, func(t *testing.T) {
			v := mount(t, coldfstest.Options{Config: func(c *config.Config) { c.MetadataTTL = ttl }})
			if err := os.Mkdir(v.Path("dir"), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, v.Path("known"), "content")
			write(t, v.Path("dir", "known"), "content")
			v.put(t, "vol/open", "never read")
			open, err := os.Open(v.Path("open"))
			if err != nil {
				t.Fatal(err)
			}
			defer open.Close()
			written, err := os.Create(v.Path("written"))
			if err != nil {
				t.Fatal(err)
			}
			defer written.Close()
			if _, err := written.WriteString("while the bucket was there"); err != nil {
				t.Fatal(err)
			}
			v.removeBucket(t)
			for range 3 {
				for what, do := range map[string]func() error{
					"look for what was never there":       func() error { _, err := os.Stat(v.Path("never")); return err },
					"read a file":                         func() error { _, err := os.ReadFile(v.Path("known")); return err },
					"read a file in a directory":          func() error { _, err := os.ReadFile(v.Path("dir", "known")); return err },
					"read a file that was open":           func() error { _, err := open.ReadAt(make([]byte, 10), 0); return err },
					"list":                                func() error { _, err := os.ReadDir(v.Dir); return err },
					"create":                              func() error { return os.WriteFile(v.Path("new"), nil, 0o644) },
					"make a directory":                    func() error { return os.Mkdir(v.Path("newdir"), 0o755) },
					"rename":                              func() error { return os.Rename(v.Path("known"), v.Path("renamed")) },
					"commit what was written before then": written.Sync,
				} {
					if err := do(); !errors.Is(err, unix.ESTALE) {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
			v.Await(t, control.BucketMissing)
			if strings.Contains(v.Log(), "well again") {
				t.Error("in between it was said that the volume is well")
			}
			if err := v.bucket.Create(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := written.Sync(); err != nil {
				t.Errorf("commit when there is a bucket again: %v", err)
			}
			v.Await(t)
			if got := string(v.object(t, "vol/written")); got != "while the bucket was there" {
				t.Errorf("the store has %q", got)
			}
		})
	}
}

func TestAMissingBucketIsNoticedWhenNobodyAsks(t *testing.T) {
	v := mount(t, coldfstest.Options{Pauses: coldfs.Pauses{FirstListing: time.Millisecond, Listing: 50 * time.Millisecond}})
	v.removeBucket(t)
	v.Await(t, control.BucketMissing)
	if err := v.bucket.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.Await(t)
}
