package marker_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestMarkers(t *testing.T) {
	ctx, b := t.Context(), s3test.Start(t).Bucket(t)
	if _, _, err := marker.Read(ctx, b, "v/"); !errors.Is(err, s3.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	want := marker.Marker{Name: "pvc-ä", Owner: volume.Owner{PV: "pv", PVC: "claim", Namespace: "red"}, Capacity: 5, Parameters: "x", OnDelete: marker.Retain,
		State: marker.Deleting, Created: time.Unix(1_800_000_000, 0).UTC()}
	etag, err := marker.Write(ctx, b, "v/", want, s3.Condition{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	got, gotTag, err := marker.Read(ctx, b, "v/")
	if d := cmp.Diff(want, got); d != "" || err != nil || gotTag != etag {
		t.Errorf("%v, %s and %s: %s", err, gotTag, etag, d)
	}
	if _, err := marker.Write(ctx, b, "v/", want, s3.Condition{IfAbsent: true}); !errors.Is(err, s3.ErrConflict) {
		t.Errorf("a second: %v", err)
	}
	want.State = marker.Ready
	if _, err := marker.Write(ctx, b, "v/", want, s3.Condition{IfMatch: etag}); err != nil {
		t.Error(err)
	}
	if _, err := marker.Write(ctx, b, "v/", want, s3.Condition{IfMatch: etag}); !errors.Is(err, s3.ErrConflict) {
		t.Errorf("over another: %v", err)
	}
}

func TestForeignMarkers(t *testing.T) {
	ctx, b := t.Context(), s3test.Start(t).Bucket(t)
	for name, content := range map[string]string{"empty": "", "no JSON": "hello", "huge": `"` + strings.Repeat("x", 100_000) + `"`} {
		if _, err := b.Put(ctx, marker.Key, strings.NewReader(content), int64(len(content)), s3.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := marker.Read(ctx, b, ""); !errors.Is(err, volume.ErrPrecondition) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
