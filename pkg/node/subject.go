package node

// A volume as the calls that only look at it see it: of a PersistentVolume, or inline.

import (
	"context"
	"errors"
	"fmt"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// subject is a volume that is looked at.
type subject interface {
	// at is Stager.Staged.
	at(ctx context.Context, path string) error
	// usage measures the volume at a path that at has seen.
	usage(ctx context.Context, path string) (volume.Usage, error)
	// health looks at the volume at the paths, of which any may be "".
	health(ctx context.Context, staging, target string) ([]volume.Condition, error)
}

// subject finds a volume. An id that can't be a volume's wraps volume.ErrNotFound.
func (s *Server) subject(volumeID string) (subject, error) {
	if s.isInline(volumeID) {
		return inlineSubject{s.inline, volumeID}, nil
	}
	id, backend, err := s.backend(volumeID)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", volume.ErrNotFound, err)
	}
	return stagedSubject{id, backend, s.locators[id.Tier()]}, nil
}

// mountedAt checks, in bounded time, that path is the volume. Anything else there is volume.ErrNotFound.
func mountedAt(ctx context.Context, v subject, volumeID, path string) error {
	_, mounted, err := mountpoint.Find(path)
	if err != nil {
		return mounterror.Wrap(err)
	}
	if !mounted {
		return fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	}
	err = v.at(ctx, path)
	if errors.Is(err, volume.ErrExists) {
		return fmt.Errorf("%w: what is mounted at %s is not volume %s: %v", volume.ErrNotFound, path, volumeID, err)
	}
	return err
}

type stagedSubject struct {
	id      volume.ID
	backend tier.NodeBackend
	locator Locator
}

func (v stagedSubject) at(ctx context.Context, path string) error {
	return publishedAt(ctx, v.id, v.backend, path)
}

func (v stagedSubject) usage(ctx context.Context, path string) (volume.Usage, error) {
	if d, ok := v.deviceAt(path); ok { // how much of it is used is known to the pod alone
		size, err := d.Size()
		return volume.Usage{TotalBytes: size}, err
	}
	if v.backend.UsageReporter == nil {
		return volume.Usage{}, fmt.Errorf("%w: tier %s doesn't measure its volumes", volume.ErrUnsupported, v.id.Tier())
	}
	return v.backend.UsageReporter.Usage(ctx, v.id, path)
}

// deviceAt is what a pod that has the volume as a raw block device has at path.
func (v stagedSubject) deviceAt(path string) (mountpoint.Device, bool) {
	if v.backend.BlockStager == nil {
		return mountpoint.Device{}, false
	}
	d, err := mountpoint.DeviceAt(path)
	return d, err == nil
}

func (v stagedSubject) health(ctx context.Context, staging, target string) ([]volume.Condition, error) {
	if v.backend.MountHealthReporter == nil {
		return nil, fmt.Errorf("%w: tier %s doesn't look at the health of its mounts", volume.ErrUnsupported, v.id.Tier())
	}
	_, d, block, err := deviceOf(ctx, v.id, v.backend)
	if err != nil {
		return nil, err
	}
	if block {
		return v.deviceHealth(ctx, d, target)
	}
	paths := given(staging, target)
	if len(paths) == 0 {
		if paths, err = v.locate(ctx); err != nil {
			return nil, err
		}
	}
	var all []volume.Condition
	for _, p := range paths {
		found, err := v.backend.MountHealthReporter.MountHealth(ctx, v.id, p)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (v stagedSubject) deviceHealth(ctx context.Context, d mountpoint.Device, target string) ([]volume.Condition, error) {
	all, err := v.backend.MountHealthReporter.MountHealth(ctx, v.id, "")
	if err != nil || target == "" {
		return all, err
	}
	err = isDevice(target, d)
	if errors.Is(err, volume.ErrNotFound) || errors.Is(err, volume.ErrExists) {
		return append(all, volume.Condition{
			Severity: volume.Inaccessible, Reason: "NotPublished", Message: fmt.Sprintf("%v; delete the pod, so that it is published again", err),
		}), nil
	}
	return all, err
}

func (v stagedSubject) locate(ctx context.Context) ([]string, error) {
	if v.locator == nil {
		return nil, fmt.Errorf("%w: tier %s can't find its mounts; give staging_target_path or volume_publish_path", volume.ErrInvalid, v.id.Tier())
	}
	paths, err := v.locator.Locate(ctx, v.id)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%w: volume %s is not mounted on this node", volume.ErrNotFound, v.id)
	}
	return paths, nil
}

type inlineSubject struct {
	publisher tier.InlinePublisher
	id        string
}

func (v inlineSubject) at(ctx context.Context, path string) error {
	return v.publisher.PublishedInline(ctx, v.id, path)
}

func (v inlineSubject) usage(ctx context.Context, path string) (volume.Usage, error) {
	return v.publisher.InlineUsage(ctx, v.id, path)
}

func (v inlineSubject) health(ctx context.Context, staging, target string) ([]volume.Condition, error) {
	if staging != "" || target == "" {
		return nil, fmt.Errorf("%w: an inline volume isn't staged, it is where it is published; give volume_publish_path alone", volume.ErrInvalid)
	}
	return v.publisher.InlineHealth(ctx, v.id, target)
}

// given returns the paths that aren't empty.
func given(paths ...string) (out []string) {
	for _, p := range paths {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}
