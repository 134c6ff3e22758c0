package coldfs_test

// How large a volume is and what it holds: what a mount learns of it while it is there.

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/coldfs"
	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// room is what df shows: the size and what is free, in bytes.
func (v *volume) room(t testing.TB) (total, free int64) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(v.Dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize
}

// The controller writes the new size into the marker, and that is all it does.
func TestAVolumeGrowsUnderItsMount(t *testing.T) {
	server := s3test.Start(t)
	bucket, name := newBucket(t, server)
	m := marker.Marker{Name: "pvc-1", Capacity: 2 << 20, OnDelete: marker.Delete}
	etag, err := marker.Write(t.Context(), bucket, "vol/", m, s3.Condition{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, 1<<20)
	v := &volume{server: server, bucket: bucket, name: name}
	v.put(t, "vol/before", string(content))
	v.Mount = coldfstest.Start(t, server, name, coldfstest.Options{
		Pauses: coldfs.Pauses{Capacity: 50 * time.Millisecond}, // and no second listing: the size doesn't wait for it
		Config: func(c *config.Config) { c.Capacity, c.EnforceQuota = m.Capacity, true },
	})
	shows := func(total, free int64) {
		t.Helper()
		eventually(t, func() error {
			if haveTotal, haveFree := v.room(t); haveTotal != total || haveFree != free {
				return fmt.Errorf("df shows %d of %d bytes free, want %d of %d", haveFree, haveTotal, free, total)
			}
			return nil
		})
	}
	shows(2<<20, 1<<20) // it was listed
	open, err := os.Create(v.Path("open"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	write(t, v.Path("one"), string(content))
	shows(2<<20, 0)
	v.Await(t, control.QuotaExceeded)
	eventually(t, func() error {
		if !strings.Contains(v.Log(), "the volume holds 2097152 bytes of 2097152 (listed at ") {
			return errors.New("it isn't said when it was listed")
		}
		return nil
	})
	if _, err := open.Write(content); !errors.Is(err, unix.EDQUOT) {
		t.Errorf("past the quota, in a file that is open: %v", err)
	}
	if err := os.WriteFile(v.Path("two"), content, 0o644); !errors.Is(err, unix.EDQUOT) {
		t.Errorf("past the quota: %v", err)
	}
	m.Capacity = 4 << 20
	if _, err := marker.Write(t.Context(), bucket, "vol/", m, s3.Condition{IfMatch: etag}); err != nil {
		t.Fatal(err)
	}
	shows(4<<20, 2<<20)
	v.Await(t)
	if _, err := open.Write(content); err != nil {
		t.Errorf("after it has grown, in a file that was open: %v", err)
	}
	if err := open.Sync(); err != nil {
		t.Errorf("after it has grown: %v", err)
	}
	write(t, v.Path("two"), string(content))
	shows(4<<20, 0)
	if err := os.WriteFile(v.Path("three"), content, 0o644); !errors.Is(err, unix.EDQUOT) {
		t.Errorf("past the new quota: %v", err)
	}
}

func TestHowOldTheUsageIsIsTold(t *testing.T) {
	seconds := func(at time.Time) float64 { return float64(at.UnixMicro()) / 1e6 }
	v := mount(t, coldfstest.Options{Pauses: coldfs.Pauses{FirstListing: time.Millisecond, Listing: time.Millisecond}})
	never := v.again(t, coldfstest.Options{Pauses: coldfs.Pauses{FirstListing: time.Hour}})
	mounted := time.Now()
	v.put(t, "vol/object", "of another client")
	told := func(m *coldfstest.Mount) (used, listed float64) {
		t.Helper()
		if err := m.Unmount(); err != nil {
			t.Fatal(err)
		}
		return m.Count("strata_cold_used_bytes", ""), m.Count("strata_cold_listing_timestamp_seconds", "")
	}
	empty, _ := v.room(t)
	eventually(t, func() error {
		if _, free := v.room(t); free == empty {
			return errors.New("df shows nothing used")
		}
		return nil
	})
	if used, listed := told(v.Mount); used != float64(len("of another client")) || listed <= seconds(mounted) {
		t.Errorf("it was listed with an object that was put after %f: %f bytes are told, of a listing at %f", seconds(mounted), used, listed)
	}
	// What isn't listed has an age all the same.
	if used, listed := told(never.Mount); used != 0 || listed <= 0 || listed >= seconds(mounted) {
		t.Errorf("it wasn't listed, and was there before %f: %f bytes are told, of a listing at %f", seconds(mounted), used, listed)
	}
}
