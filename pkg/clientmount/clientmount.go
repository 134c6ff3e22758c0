// Package clientmount is what the tiers have in common whose volumes are mounted by a client, with one mount for each volume and node: how such a mount is found,
// asked, repaired and taken away. It keeps no state: a mount is known by its row in the mount table, so a restarted node finds what the one before it mounted.
package clientmount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// probeTime bounds the question whether a mount is alive where the caller has more time than that: an answer takes
// milliseconds, and the rest of the caller's time is for mounting.
const probeTime = 10 * time.Second

// ErrIncomplete says that the client's mount is there and shows the volume otherwise than a pod is to see it: its staging was interrupted.
var ErrIncomplete = errors.New("staging was interrupted")

// Target tells the mounts of one volume from all others, by their rows in the mount table alone.
type Target interface {
	// Client tells whether m shows the volume's client mount, or a part of it.
	Client(m mountpoint.Mount) bool
	// Complete tells whether m shows the volume as a pod is to see it.
	Complete(m mountpoint.Mount) bool
}

// Tier knows the mounts of one tier.
type Tier interface {
	// Name is the tier's.
	Name() volume.Tier
	// Target takes apart an id; false when it is no volume's of the tier.
	Target(id volume.ID) (Target, bool)
	// Own tells whether a row is of a client that this driver started for the tier.
	Own(m mountpoint.Mount) bool
}

// Mounts are those of one tier on this node.
type Mounts struct {
	tier      Tier
	prober    *mountpoint.Prober
	unmounter *mountpoint.Unmounter
	repairs   repairs
}

// New returns the mounts of a tier.
func New(t Tier, p *mountpoint.Prober, u *mountpoint.Unmounter) *Mounts {
	return &Mounts{tier: t, prober: p, unmounter: u}
}

// target is Target with an error that says whose id it is not.
func (s *Mounts) target(id volume.ID) (Target, error) {
	t, ok := s.tier.Target(id)
	if !ok {
		return nil, fmt.Errorf("%w: %q is not the id of a %s volume", volume.ErrInvalid, id, s.tier.Name())
	}
	return t, nil
}

// Alive asks the mount at path in bounded time: every question to a mount may wait for ever, and can't be taken back. mountpoint.Dead tells whether an error
// means that it is gone for good.
func (s *Mounts) Alive(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return mounterror.Wrap(s.prober.Answers(ctx, path))
}

// Size asks the mount at path how much it holds, in the same time.
func (s *Mounts) Size(ctx context.Context, path string) (mountpoint.Stats, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	st, err := s.prober.Probe(ctx, path)
	return st, mounterror.Wrap(err)
}

// Staged is tier.Stager's; path may also be one that the volume is published at. What is not the volume's is never
// asked for an answer; a dead mount is recognised by its row, so no other's is taken for it.
func (s *Mounts) Staged(ctx context.Context, id volume.ID, path string) error {
	t, err := s.target(id)
	if err != nil {
		return err
	}
	m, mounted, err := mountpoint.Find(path)
	if err != nil {
		return mounterror.Wrap(err)
	}
	switch {
	case !mounted:
		return fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	case !t.Client(*m):
		return fmt.Errorf("%w: what is mounted at %s is not volume %s (%s, type %s)", volume.ErrExists, path, id, m.Source, m.FSType)
	case !t.Complete(*m):
		return fmt.Errorf("%w: %s shows %s of the client's mount: %w", volume.ErrNotFound, path, m.Root, ErrIncomplete)
	}
	return s.Alive(ctx, path)
}

// Locate is node.Locator's.
func (s *Mounts) Locate(_ context.Context, id volume.ID) ([]string, error) {
	t, ok := s.tier.Target(id)
	if !ok {
		return nil, nil
	}
	table, err := mountpoint.Read()
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, m := range table {
		if t.Complete(m) {
			paths = append(paths, m.Path)
		}
	}
	return paths, nil
}

// MakeWay looks at what is mounted at path before a volume is staged there. staged: the volume is, alive and as asked for. Otherwise nothing is mounted when it
// returns; a dead mount is unmounted, which costs its users nothing: they have only errors from it.
func (s *Mounts) MakeWay(ctx context.Context, id volume.ID, path string, readOnly bool) (staged bool, err error) {
	err = s.Staged(ctx, id, path)
	switch {
	case err == nil:
		m, ok, err := mountpoint.Find(path)
		if err != nil || !ok {
			return false, errors.Join(mounterror.Wrap(err), fmt.Errorf("%w: %s has just been unmounted", volume.ErrUnavailable, path))
		}
		if m.ReadOnly() != readOnly {
			return false, fmt.Errorf("%w: %s is staged with read-only %t, and asked for is %t; unstage it first", volume.ErrExists, path, m.ReadOnly(), readOnly)
		}
		return true, nil
	case errors.Is(err, volume.ErrNotFound) && !errors.Is(err, ErrIncomplete):
		return false, nil
	case mountpoint.Dead(err), errors.Is(err, ErrIncomplete):
		klog.FromContext(ctx).Info("replacing a mount that is not usable", "volume", id, "path", path, "cause", err)
		if mountpoint.Dead(err) {
			s.repairs.begin(path)
		}
		return false, s.Discard(ctx, path)
	}
	return false, err
}

// Discard takes away what is mounted at path and can't be used, without waiting for anybody's end: whoever mounts ends what is
// left of an earlier mount before he makes the next, and pods may keep a dead client from ending.
func (s *Mounts) Discard(ctx context.Context, path string) error {
	err := s.unmounter.Unmount(ctx, path)
	if !errors.Is(err, mountpoint.ErrBusy) {
		return mounterror.Wrap(err)
	}
	for {
		if _, mounted, err := mountpoint.Find(path); err != nil || !mounted {
			return mounterror.Wrap(err)
		}
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("detach %s: %w", path, err)
		}
	}
}

// Unmount takes the volume away from path. What isn't the volume's is volume.ErrPrecondition and stays.
func (s *Mounts) Unmount(ctx context.Context, id volume.ID, path string) error {
	t, err := s.target(id)
	if err != nil {
		return err
	}
	err = s.unmounter.UnmountWhile(ctx, path, func(context.Context) error {
		m, mounted, err := mountpoint.Find(path)
		if err == nil && mounted && !t.Client(*m) {
			err = fmt.Errorf("%w: what is mounted at %s is not volume %s (%s, type %s)", volume.ErrPrecondition, path, id, m.Source, m.FSType)
		}
		return err
	})
	if err != nil {
		return mounterror.Wrap(err)
	}
	s.repairs.giveUp(path)
	return nil
}
