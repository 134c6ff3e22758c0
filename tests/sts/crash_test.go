package sts

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/tests/harness"
)

type interruption struct {
	point   string
	deletes bool
}

// interrupted are the failpoints of volumes with credentials of their own, and which call passes them.
var interrupted = []interruption{
	{"cold/create/after-marker", false}, // there is a volume without a Secret
	{"cold/identity/after-secret", false},
	{"cold/identity/after-drop", true},
}

func TestEveryFailpointHasARow(t *testing.T) {
	seen := 0
	for _, p := range harness.Failpoints(t, "pkg/cold") {
		if !strings.HasPrefix(p, "cold/identity/") {
			continue // tests/cold
		}
		seen++
		if !slices.ContainsFunc(interrupted, func(row interruption) bool { return row.point == p }) {
			t.Errorf("no row kills the controller at %s", p)
		}
	}
	if seen < 2 {
		t.Errorf("found %d failpoints only", seen)
	}
}

// Whatever a controller was killed at, the repeated call ends as if nothing had been, and another controller can make it: one Secret with good credentials, or none.
func TestCredentialsSurviveTheDeathOfTheController(t *testing.T) {
	l := newLab(t)
	server := &s3test.Server{Endpoint: l.endpoint, Credentials: l.key}
	for _, row := range interrupted {
		t.Run(row.point, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
			defer cancel()
			kube := harness.NewKubeAPI(t)
			dying := harness.NewColdControllerInKubernetes(t, server, l.bucket.Location().Bucket, row.point, kube)
			other := harness.NewColdControllerInKubernetes(t, server, l.bucket.Location().Bucket, "", kube)
			name := "pvc-" + strings.NewReplacer("/", "-").Replace(row.point)
			req := other.Request(name, 1<<30, "identity", "volume", "roleARN", l.role, "csi.storage.k8s.io/pv/name", name)
			var id string
			if row.deletes {
				made, err := other.CreateVolume(ctx, req)
				must(t, err)
				id = made.GetVolume().GetVolumeId()
				if _, err := dying.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id, Secrets: other.Secrets}); err == nil {
					t.Fatal("the call has ended")
				}
				dying.WaitKilled(harness.Patience)
			} else {
				if _, err := dying.CreateVolume(ctx, req); err == nil {
					t.Fatal("the call has ended")
				}
				dying.WaitKilled(harness.Patience)
				made, err := other.CreateVolume(ctx, req)
				must(t, err)
				id = made.GetVolume().GetVolumeId()
				fields := kube.Secrets()[name]
				b := l.open(s3.Credentials{AccessKeyID: fields[secret.KeyAccessKeyID], SecretAccessKey: fields[secret.KeySecretAccessKey], SessionToken: fields[secret.KeySessionToken]}, l.bucket.Location().Bucket)
				_, err = b.List(ctx, s3.ListRequest{Prefix: made.GetVolume().GetVolumeContext()["prefix"]})
				must(t, err)
			}
			_, err := other.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id, Secrets: other.Secrets})
			must(t, err)
			if all := kube.Secrets(); len(all) > 0 {
				t.Errorf("%d Secrets are left", len(all))
			}
			page, err := l.bucket.List(ctx, s3.ListRequest{})
			must(t, err)
			if len(page.Objects) > 0 {
				t.Errorf("left in the bucket: %v", page.Objects)
			}
		})
	}
}
