package tiertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// Local is a Stager of a node's own disks: it wants no secret, serves raw block devices (real loop devices) and inline volumes (tmpfs),
// and grows what it serves. Its volumes are files of one directory, an inline volume's only says that there is one: a second
// Local of the directory finds what the first made.
type Local struct {
	*Stager
	dir       string
	published []tier.InlineSpec
}

var (
	_ tier.BlockStager     = (*Local)(nil)
	_ tier.InlinePublisher = (*Local)(nil)
	_ tier.NodeExpander    = (*Local)(nil)
	_ tier.SegmentReporter = (*Local)(nil)
)

// NewLocal returns a Local with its volumes in dir, which exists.
func NewLocal(dir string) *Local {
	s := New()
	s.open = true
	return &Local{Stager: s, dir: dir}
}

// Volumes returns the ids of what is there, block devices and inline volumes, sorted.
func (l *Local) Volumes() ([]string, error) {
	entries, err := os.ReadDir(l.dir)
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, err
}

// Published returns the calls of PublishInline that got past their checks, oldest first.
func (l *Local) Published() []tier.InlineSpec {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.published)
}

// Segment implements tier.SegmentReporter.
func (l *Local) Segment() volume.Segment {
	return volume.Segment{tier.KeyPrefix + "scratch-loop": "true"}
}

func (l *Local) file(id string) string { return filepath.Join(l.dir, id) }

// Stage implements tier.Stager.
func (l *Local) Stage(ctx context.Context, spec tier.StageSpec) error {
	if !spec.Block {
		return l.Stager.Stage(ctx, spec)
	}
	if err := l.CheckContext(spec.ID, spec.Context, spec.Options); err != nil {
		return err
	}
	l.begin(ctx, spec)
	image := l.file(string(spec.ID))
	if node, err := mountpointtest.FindLoop(image); err != nil || node != "" {
		return err
	}
	size := int64(1 << 20)
	if text := spec.Context["size"]; text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%w: size: %v", volume.ErrInvalid, err)
		}
		size = n
	}
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size)); err != nil {
		return err
	}
	_, err := mountpointtest.AttachLoop(image)
	return err
}

// Unstage implements tier.Stager.
func (l *Local) Unstage(ctx context.Context, id volume.ID, path string) error {
	image := l.file(string(id))
	node, err := mountpointtest.FindLoop(image)
	if err == nil && node != "" {
		err = mountpointtest.DetachLoop(node)
	}
	return errors.Join(err, remove(image), l.Stager.Unstage(ctx, id, path))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// BlockDevice implements tier.BlockStager.
func (l *Local) BlockDevice(_ context.Context, id volume.ID) (string, error) {
	node, err := mountpointtest.FindLoop(l.file(string(id)))
	if err == nil && node == "" {
		err = fmt.Errorf("%w: volume %s has no block device", volume.ErrNotFound, id)
	}
	return node, err
}

// ExpandOnNode implements tier.NodeExpander.
func (l *Local) ExpandOnNode(ctx context.Context, id volume.ID, path string, size volume.CapacityRange) (int64, error) {
	if path == "" {
		node, err := l.BlockDevice(ctx, id)
		if err != nil {
			return 0, err
		}
		return size.Required, errors.Join(os.Truncate(l.file(string(id)), size.Required), mountpointtest.ResizeLoop(node))
	}
	err := unix.Mount("", path, "", unix.MS_REMOUNT, "size="+strconv.FormatInt(size.Required, 10))
	return size.Required, os.NewSyscallError("mount", err)
}

// MountHealth implements tier.MountHealthReporter.
func (l *Local) MountHealth(ctx context.Context, id volume.ID, path string) ([]volume.Condition, error) {
	if path == "" {
		_, err := l.BlockDevice(ctx, id)
		return nil, err
	}
	return l.Stager.MountHealth(ctx, id, path)
}

// CheckInline implements tier.InlinePublisher. The attribute "size" is a number of bytes.
func (l *Local) CheckInline(spec tier.InlineSpec) error {
	for _, k := range slices.Sorted(maps.Keys(spec.Attributes)) {
		if k != "size" {
			return fmt.Errorf("%w: unknown attribute %q; allowed is size", volume.ErrInvalid, k)
		}
	}
	if spec.Pod.UID == "" {
		return fmt.Errorf("%w: the pod's uid is missing", volume.ErrInvalid)
	}
	return nil
}

// PublishInline implements tier.InlinePublisher.
func (l *Local) PublishInline(ctx context.Context, spec tier.InlineSpec) error {
	if err := l.CheckInline(spec); err != nil {
		return err
	}
	l.mu.Lock()
	l.published = append(l.published, spec)
	l.mu.Unlock()
	if err := l.PublishedInline(ctx, spec.ID, spec.Path); !errors.Is(err, volume.ErrNotFound) {
		return err
	}
	if strings.HasPrefix(spec.Attributes["size"], "-") {
		return fmt.Errorf("%w: no room for %s bytes", volume.ErrExhausted, spec.Attributes["size"])
	}
	if err := os.WriteFile(l.file(spec.ID), nil, 0o600); err != nil {
		return err
	}
	return mount(spec.ID, spec.Path, spec.Attributes["size"], spec.ReadOnly, spec.Group)
}

// UnpublishInline implements tier.InlinePublisher.
func (l *Local) UnpublishInline(ctx context.Context, id, path string) error {
	err := l.unmounter.UnmountWhile(ctx, path, func(ctx context.Context) error {
		if err := l.PublishedInline(ctx, id, path); errors.Is(err, volume.ErrExists) {
			return fmt.Errorf("%w: %v", volume.ErrPrecondition, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return remove(l.file(id))
}

// PublishedInline implements tier.InlinePublisher.
func (l *Local) PublishedInline(ctx context.Context, id, path string) error {
	return l.Staged(ctx, volume.ID(id), path)
}

// InlineUsage implements tier.InlinePublisher.
func (l *Local) InlineUsage(ctx context.Context, id, path string) (volume.Usage, error) {
	return l.Usage(ctx, volume.ID(id), path)
}

// InlineHealth implements tier.InlinePublisher.
func (l *Local) InlineHealth(ctx context.Context, id, path string) ([]volume.Condition, error) {
	if _, mounted, err := mountpoint.Find(path); err == nil && !mounted {
		if _, err := os.Stat(l.file(id)); err != nil {
			return nil, fmt.Errorf("%w: no inline volume %s", volume.ErrNotFound, id)
		}
	}
	return l.Stager.MountHealth(ctx, volume.ID(id), path)
}
