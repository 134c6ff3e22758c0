package main

// Mounting volumes through a node's programs beside mounting them by hand.

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/hack/bench/callers"
	"github.com/strata-csi/strata/hack/stack"
	"github.com/strata-csi/strata/pkg/ceph"
)

// places are what there is to mount on both sides: one volume for each operation, as a volume is mounted once on a node.
type places struct {
	volumes []*csi.Volume
	subs    []ceph.Subvolume
	bare    []*bareMount
}

// places makes so many volumes, and as many subvolumes for the floor.
func (b *bench) places(ctx context.Context, name string, count int) (*places, error) {
	p := &places{volumes: make([]*csi.Volume, count), subs: b.subvolumes(name, count), bare: make([]*bareMount, count)}
	_, err := callers.Together(ctx, 8, count, func(ctx context.Context, i int) error {
		resp, err := b.Controller.CreateVolume(ctx, stack.Request(fmt.Sprintf("%s-%d", name, i), team, 2*gib, stack.Shared, ""))
		if err != nil {
			return err
		}
		p.volumes[i] = resp.GetVolume()
		if err := b.createBare(ctx, p.subs[i], 2*gib); err != nil {
			return err
		}
		info, err := b.fs.Info(ctx, p.subs[i])
		if err != nil {
			return err
		}
		p.bare[i], err = b.bareMountOf(p.subs[i].Name, info.Path)
		return err
	})
	return p, err
}

// remove takes away what places made.
func (b *bench) remove(ctx context.Context, p *places) error {
	_, err := callers.Together(ctx, 8, len(p.volumes), func(ctx context.Context, i int) error {
		if _, err := b.Controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: p.volumes[i].GetVolumeId()}); err != nil {
			return err
		}
		return b.fs.Remove(ctx, p.subs[i])
	})
	return err
}

// The four things that are done with a place.
func (b *bench) publish(p *places) func(ctx context.Context, i int) error {
	return func(ctx context.Context, i int) error {
		return b.Nodes[0].Mount(ctx, p.volumes[i], p.name(i), stack.Shared)
	}
}

func (b *bench) unpublish(p *places) func(ctx context.Context, i int) error {
	return func(ctx context.Context, i int) error { return b.Nodes[0].Unmount(ctx, p.volumes[i], p.name(i)) }
}

func (b *bench) mountBare(p *places) func(ctx context.Context, i int) error {
	return func(ctx context.Context, i int) error { return p.bare[i].mount(ctx, b.Monitor(), b.node) }
}

func (*bench) unmountBare(p *places) func(ctx context.Context, i int) error {
	return func(ctx context.Context, i int) error { return p.bare[i].unmount(ctx) }
}

func (p *places) name(i int) string { return p.subs[i].Name }

func (b *bench) mounts(ctx context.Context) ([]*figure, error) {
	most := 0
	for _, l := range b.plan.loads {
		most = max(most, l.mounts)
	}
	b.Step("mounts: making %d volumes, and warming up", most)
	p, err := b.places(ctx, "mounts", most)
	if err != nil {
		return nil, err
	}
	for _, do := range []func(*places) func(context.Context, int) error{b.publish, b.mountBare, b.unpublish, b.unmountBare} {
		if _, err := callers.Together(ctx, 1, 2, do(p)); err != nil {
			return nil, err
		}
	}

	var up, down []*figure
	for _, l := range b.plan.loads {
		up = append(up, newFigure("Stage + Publish", l.callers, "/s", "Strata", "bare: ceph-fuse + bind"))
		down = append(down, newFigure("Unpublish + Unstage", l.callers, "/s", "Strata", "bare: two unmounts, end of ceph-fuse"))
	}
	err = b.rounds(ctx, partMounts, func(ctx context.Context, round int) error {
		for i, l := range b.plan.loads {
			side := func(n int, mount, unmount func(context.Context, int) error) func() error {
				return func() error {
					mounted, err := callers.Together(ctx, l.callers, l.mounts, mount)
					if err != nil {
						return fmt.Errorf("%s: %w", up[i].Sides[n].Name, err)
					}
					unmounted, err := callers.Together(ctx, l.callers, l.mounts, unmount)
					if err != nil {
						return fmt.Errorf("%s: %w", down[i].Sides[n].Name, err)
					}
					up[i].Sides[n].add(mounted)
					down[i].Sides[n].add(unmounted)
					return nil
				}
			}
			err := turns(round, side(driver, b.publish(p), b.unpublish(p)), side(bare, b.mountBare(p), b.unmountBare(p)))
			if err != nil {
				return err
			}
			b.Step("mounts, round %d, %2d callers: %s; %s", round+1, l.callers, up[i].last(), down[i].last())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return append(up, down...), b.remove(ctx, p)
}
