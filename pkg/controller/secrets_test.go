package controller_test

// Tiers whose credential comes with each request.

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// keyed is a tier that notes which secrets each call had.
type keyed struct {
	secret string
	seen   *map[string]string
}

func (k keyed) WithSecrets(secrets map[string]string) tier.Provisioner {
	k.secret = secrets["key"]
	return k
}
func (k keyed) note(call string) { (*k.seen)[call] = k.secret }

func (k keyed) Create(context.Context, volume.Spec) (volume.Volume, error) {
	k.note("create")
	return volume.Volume{ID: "cold:a:b"}, nil
}
func (k keyed) Delete(context.Context, volume.ID) error { k.note("delete"); return nil }
func (k keyed) Get(_ context.Context, id volume.ID) (volume.Volume, error) {
	k.note("get")
	return volume.Volume{ID: id}, nil
}
func (k keyed) CheckParameters(map[string]string) error { return nil }
func (k keyed) Expand(_ context.Context, _ volume.ID, size volume.CapacityRange) (int64, bool, error) {
	k.note("expand")
	return size.Required, false, nil
}

func TestSecretsReachTheirTier(t *testing.T) {
	seen := map[string]string{}
	s := serving(map[volume.Tier]tier.Provisioner{volume.Cold: keyed{seen: &seen}})
	ctx, capabilities := t.Context(), []*csi.VolumeCapability{asFiles(mwo)}
	with := func(secret string) map[string]string { return map[string]string{"key": secret} }
	_, err := s.CreateVolume(ctx, &csi.CreateVolumeRequest{Name: "a", VolumeCapabilities: capabilities, Parameters: map[string]string{"tier": "cold"}, Secrets: with("1")})
	if err != nil {
		t.Error(err)
	}
	if _, err := s.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: "cold:a:b", Secrets: with("2")}); err != nil {
		t.Error(err)
	}
	_, err = s.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: "cold:a:b", CapacityRange: &csi.CapacityRange{RequiredBytes: 1}, Secrets: with("3")})
	if err != nil {
		t.Error(err)
	}
	_, err = s.ValidateVolumeCapabilities(ctx, &csi.ValidateVolumeCapabilitiesRequest{VolumeId: "cold:a:b", VolumeCapabilities: capabilities, Secrets: with("4")})
	if err != nil {
		t.Error(err)
	}
	if want := map[string]string{"create": "1", "delete": "2", "expand": "3", "get": "4"}; !maps.Equal(seen, want) {
		t.Errorf("got %v, want %v", seen, want)
	}
	// A call that brings no secret can't be answered, and isn't promised.
	if _, err := s.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: "cold:a:b"}); !errors.Is(err, volume.ErrUnsupported) {
		t.Errorf("ControllerGetVolume: %v", err)
	}
	for _, c := range []struct {
		tiers map[volume.Tier]tier.Provisioner
		want  bool
	}{
		{map[volume.Tier]tier.Provisioner{volume.Cold: keyed{seen: &seen}}, false},
		{map[volume.Tier]tier.Provisioner{volume.Cold: keyed{seen: &seen}, volume.Warm: &plain{}}, true},
	} {
		r, err := serving(c.tiers).ControllerGetCapabilities(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.ContainsFunc(r.Capabilities, func(c *csi.ControllerServiceCapability) bool {
			return c.GetRpc().GetType() == csi.ControllerServiceCapability_RPC_GET_VOLUME
		})
		if got != c.want {
			t.Errorf("%d tiers: GET_VOLUME %v", len(c.tiers), got)
		}
	}
}
