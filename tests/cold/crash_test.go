package cold

// strata-controller is killed at every failpoint of the tier. It has no journal: what a killed call leaves is all in the store.

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/tests/harness"
)

// interrupted are the failpoints, by how the volume is kept and which call passes them.
var interrupted = []struct {
	point     string
	ownBucket bool
	deletes   bool
}{
	{point: "cold/create/after-bucket", ownBucket: true},
	{point: "cold/create/after-marker"},
	{point: "cold/create/after-marker", ownBucket: true},
	{point: "cold/delete/after-mark", deletes: true},
	{point: "cold/delete/after-some", deletes: true},
	{point: "cold/delete/after-some", ownBucket: true, deletes: true},
	{point: "cold/delete/before-marker", deletes: true},
	{point: "cold/delete/before-marker", ownBucket: true, deletes: true},
	{point: "cold/delete/before-bucket", ownBucket: true, deletes: true},
}

func TestEveryFailpointHasARow(t *testing.T) {
	points := harness.Failpoints(t, "pkg/cold")
	if len(points) < 6 {
		t.Fatalf("found %d failpoints only", len(points))
	}
	var rows []string
	for _, row := range interrupted {
		rows = append(rows, row.point)
	}
	for _, p := range points {
		if strings.HasPrefix(p, "cold/identity/") {
			continue // it takes a store with STS: tests/sts
		}
		if !slices.Contains(rows, p) {
			t.Errorf("no row kills the controller at %s", p)
		}
	}
	for _, p := range rows {
		if !slices.Contains(points, p) {
			t.Errorf("a row names %s, which isn't in pkg/cold", p)
		}
	}
}

func TestRequestsSurviveTheDeathOfTheController(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Open(t, server.Endpoint, "team", s3.Options{})
	must(t, bucket.Create(t.Context()))
	// A neighbour whose prefix the others' begin with: whatever dies, nothing of it is touched.
	other := harness.NewColdController(t, server, "team")
	neighbour, err := other.CreateVolume(call(t), other.Request("pvc", mib))
	must(t, err)
	kept := neighbour.GetVolume().GetVolumeContext()["prefix"] + "kept"
	put(t, bucket, kept)

	for i, row := range interrupted {
		for _, how := range []string{"by itself, restarted", "by another", "deleted instead"} {
			if how == "deleted instead" && row.deletes {
				continue
			}
			kind := "prefix"
			if row.ownBucket {
				kind = "bucket"
			}
			t.Run(row.point+"/"+kind+"/"+how, func(t *testing.T) {
				name := "pvc-" + string(rune('a'+i)) + "-" + strings.Fields(how)[1]
				request := other.Request(name, mib)
				if row.ownBucket {
					delete(request.Parameters, "bucket")
					request.Parameters["bucketPerVolume"] = "true"
				}
				c := harness.NewColdControllerUntil(t, server, "team", row.point)
				var v *csi.Volume
				if row.deletes || how == "deleted instead" {
					v = create(t, other, request)
				}
				if how == "deleted instead" { // an id says where the volume is; the next one of the name has the same
					_, err = other.DeleteVolume(call(t), deletion(other, v.GetVolumeId()))
					must(t, err)
				}
				if row.deletes {
					fill(t, server, v)
					_, err = c.DeleteVolume(call(t), deletion(other, v.GetVolumeId()))
				} else {
					_, err = c.CreateVolume(call(t), request)
				}
				wantCode(t, err, codes.Unavailable)
				c.WaitKilled(harness.Patience)

				again := other
				if how == "by itself, restarted" {
					c.Start("")
					again = c
				}
				if v == nil {
					v = create(t, again, request)
					if same := create(t, other, request); same.GetVolumeId() != v.GetVolumeId() || same.GetCapacityBytes() != v.GetCapacityBytes() {
						t.Errorf("the repetition made %v, and another %v", v, same)
					}
					fill(t, server, v)
				}
				for range 2 {
					_, err = again.DeleteVolume(call(t), deletion(other, v.GetVolumeId()))
					must(t, err)
				}
				gone(t, server, v, row.ownBucket)
				if _, err := bucket.Head(call(t), kept); err != nil {
					t.Errorf("the neighbour's object: %v", err)
				}
			})
		}
	}
}

func deletion(c *harness.ColdController, id string) *csi.DeleteVolumeRequest {
	return &csi.DeleteVolumeRequest{VolumeId: id, Secrets: c.Secrets}
}

// create creates a volume as an orchestrator does: a call that was too early is repeated.
func create(t *testing.T, c *harness.ColdController, r *csi.CreateVolumeRequest) *csi.Volume {
	t.Helper()
	var v *csi.Volume
	harness.Eventually(t, "the volume is created", harness.Patience, func() error {
		answer, err := c.CreateVolume(call(t), r)
		if code := status.Code(err); err != nil && code != codes.Aborted && code != codes.Unavailable {
			t.Fatal(err)
		}
		v = answer.GetVolume()
		return err
	})
	return v
}

func put(t *testing.T, b *s3.Bucket, key string) {
	t.Helper()
	if _, err := b.Put(context.WithoutCancel(t.Context()), key, strings.NewReader("content"), 7, s3.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// fill gives a volume objects and an upload that nobody completes.
func fill(t *testing.T, server *s3test.Server, v *csi.Volume) {
	t.Helper()
	b := server.Open(t, server.Endpoint, v.GetVolumeContext()["bucket"], s3.Options{})
	prefix := v.GetVolumeContext()["prefix"]
	for _, name := range []string{"a", "dir/b", "dir/c"} {
		put(t, b, prefix+name)
	}
	if _, err := b.CreateUpload(call(t), prefix+"unfinished", s3.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// gone wants nothing of a volume to be in the store.
func gone(t *testing.T, server *s3test.Server, v *csi.Volume, ownBucket bool) {
	t.Helper()
	b := server.Open(t, server.Endpoint, v.GetVolumeContext()["bucket"], s3.Options{})
	page, err := b.List(call(t), s3.ListRequest{Prefix: v.GetVolumeContext()["prefix"]})
	if ownBucket {
		if err == nil {
			t.Errorf("the volume's bucket is there, with %v", page.Objects)
		}
		return
	}
	must(t, err)
	uploads, err := b.Uploads(call(t), v.GetVolumeContext()["prefix"])
	must(t, err)
	if len(page.Objects) > 0 || len(uploads) > 0 {
		t.Errorf("left over: %v, %v", page.Objects, uploads)
	}
}
