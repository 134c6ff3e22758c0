package inspect_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

// forgetful keeps no secret.
type forgetful struct{}

func (forgetful) Keep(context.Context, string, volume.ID, map[string]string) error { return nil }
func (forgetful) Drop(context.Context, string, volume.ID) error                    { return nil }

// TestIdentitiesOfAllGenerations: what is seen are the users that the driver made, whose names it doesn't share.
func TestIdentitiesOfAllGenerations(t *testing.T) {
	l := newLab(t)
	b := warm.New(warm.Options{Keeper: forgetful{}, Dial: func(context.Context, clusters.Cluster) (ceph.Conn, error) { return l.ceph.Conn(), nil },
		Clusters: clusters.Static(clusters.Cluster{ID: "lab", NamePrefix: "dev", Defaults: map[string]string{"fsName": "warm", "pool": "warm-ec"}})})
	t.Cleanup(b.Close)
	v, err := b.Create(t.Context(), volume.Spec{Name: "pvc-1", Parameters: map[string]string{"tier": "warm", "identity": "volume"}, Owner: volume.Owner{PV: "pvc-1"}})
	if err != nil {
		t.Fatal(err)
	}
	for rotations := range 4 {
		if rotations == 3 {
			_, err = b.Retire(t.Context(), v.ID, true)
		} else if rotations > 0 {
			_, err = b.Rotate(t.Context(), v.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		list := l.Inventory(t.Context(), true).Identities
		if len(list) != 1 || list[0].Volume != string(v.ID) || list[0].Secret != "pvc-1" {
			t.Fatalf("identities: %+v", list)
		}
		seen := append(slices.Clone(list[0].Former), list[0].User)
		if have := slices.Sorted(maps.Keys(l.ceph.Users())); !slices.Equal(slices.Sorted(slices.Values(seen)), have) {
			t.Errorf("after %d rotations: seen %v, there are %v", rotations, seen, have)
		}
	}
}
