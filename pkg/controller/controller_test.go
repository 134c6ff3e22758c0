package controller_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/controller"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// backend is a tier whose volumes are made up; the functions say what becomes of a call.
type backend struct {
	remove func() error
	health func(volume.ID) ([]volume.Condition, error)
	list   []volume.ID
}

func (b *backend) Create(context.Context, volume.Spec) (volume.Volume, error) {
	return volume.Volume{}, nil
}
func (b *backend) Delete(context.Context, volume.ID) error { return b.remove() }
func (b *backend) Get(context.Context, volume.ID) (volume.Volume, error) {
	return volume.Volume{}, nil
}
func (b *backend) CheckParameters(map[string]string) error { return nil }
func (b *backend) Health(_ context.Context, id volume.ID) ([]volume.Condition, error) {
	return b.health(id)
}
func (b *backend) ListVolumes(context.Context, int, string) ([]volume.Volume, string, error) {
	var out []volume.Volume
	for _, id := range b.list {
		out = append(out, volume.Volume{ID: id})
	}
	return out, "", nil
}

func serve(b *backend) *controller.Server {
	tiers := tier.Controllers{}
	tiers.Register(volume.Warm, b)
	return controller.New(tiers)
}

// TestHealthListGoesOnWithoutADeletedVolume: between the list and the look at each, volumes may go.
func TestHealthListGoesOnWithoutADeletedVolume(t *testing.T) {
	s := serve(&backend{list: []volume.ID{"warm:a", "warm:b", "warm:c"}, health: func(id volume.ID) ([]volume.Condition, error) {
		if id == "warm:b" {
			return nil, fmt.Errorf("%w: gone", volume.ErrNotFound)
		}
		return nil, nil
	}})
	got, err := s.ControllerListVolumeHealth(t.Context(), &csi.ControllerListVolumeHealthRequest{})
	if err != nil || len(got.GetEntries()) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
}

// inFlight is the error of a call that its backend hasn't ended.
type inFlight struct{ done chan struct{} }

func (inFlight) Error() string               { return "no answer" }
func (f inFlight) InFlight() <-chan struct{} { return f.done }

// TestVolumeStaysLockedWhileACallIsUnderWay: a call that was given up may still take effect; another on the same volume hears of it
// until it has ended.
func TestVolumeStaysLockedWhileACallIsUnderWay(t *testing.T) {
	call := inFlight{done: make(chan struct{})}
	calls := 0
	s := serve(&backend{remove: func() error {
		if calls++; calls == 1 {
			return fmt.Errorf("%w: %w", volume.ErrUnavailable, call)
		}
		return nil
	}})
	remove := func(id string, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := s.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
		return err
	}
	if err := remove("warm:a", time.Minute); !errors.Is(err, volume.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	if err := remove("warm:a", 50*time.Millisecond); !errors.Is(err, volume.ErrPending) {
		t.Errorf("the same volume: got %v", err)
	}
	if err := remove("warm:b", time.Minute); err != nil {
		t.Errorf("another volume: %v", err)
	}
	close(call.done)
	if err := remove("warm:a", time.Minute); err != nil {
		t.Errorf("after its end: %v", err)
	}
}
