package scratch

// Volumes of a PersistentVolume (a claim, or a generic ephemeral volume): made by Stage, destroyed by Unstage.

import (
	"context"
	"fmt"
	"strconv"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// The keys of the volume context of a persistent scratch volume.
const (
	ContextClass = "class" // a class of the node's configuration
	ContextSize  = "size"  // bytes, decimal
)

// Stage makes the volume, empty, and mounts it. See tier.Stager.
func (b *Backend) Stage(ctx context.Context, spec tier.StageSpec) error {
	class, size, err := b.readContext(spec.ID, spec.Context, spec.Options)
	if err != nil {
		return err
	}
	name := nameOf(string(spec.ID))
	b.mu.Lock()
	size = max(size, b.ledger.grown[name].Size)
	b.mu.Unlock()
	return b.ensure(ctx, record{
		ID: string(spec.ID), Name: name, Phase: creating, Boot: b.boot, Class: class.Name, Pool: class.Pool, Size: size,
		Block: spec.Block, ReadOnly: spec.ReadOnly, Group: spec.Group, Wipe: class.Wipe, Path: spec.Path, Created: now(),
	}, class)
}

// Unstage unmounts the volume and destroys it. At a path where it is mounted and not staged, it only unmounts. See tier.Stager.
func (b *Backend) Unstage(ctx context.Context, id volume.ID, path string) error {
	r, ok := b.record(string(id))
	switch {
	case !ok:
		return nil
	case r.Path == path || r.Block:
		return b.discard(ctx, r)
	}
	d, err := b.diskOf(r)
	if err != nil {
		return err
	}
	return mounterror.Wrap(b.unmount(ctx, d, r, path))
}

// Staged says whether path is the volume. See tier.Stager.
func (b *Backend) Staged(ctx context.Context, id volume.ID, path string) error {
	_, _, err := b.mounted(ctx, string(id), path)
	return err
}

// CheckContext refuses what Stage would refuse. See tier.Stager.
func (b *Backend) CheckContext(id volume.ID, context map[string]string, options []string) error {
	_, _, err := b.readContext(id, context, options)
	return err
}

// readContext returns the class with the options of the PersistentVolume added to its own.
func (b *Backend) readContext(id volume.ID, context map[string]string, options []string) (config.Class, int64, error) {
	for key := range context {
		switch key {
		case ContextClass, ContextSize, "tier":
		default:
			if !isKubernetes(key) {
				known := []string{"tier", ContextClass, ContextSize}
				return config.Class{}, 0, fmt.Errorf("%w: volume context of %s: %q is not known%s", volume.ErrInvalid, id, key, suggest.Hint(key, known))
			}
		}
	}
	class, err := b.class(context[ContextClass])
	if err != nil {
		return config.Class{}, 0, fmt.Errorf("volume context of %s: %w", id, err)
	}
	size, err := strconv.ParseInt(context[ContextSize], 10, 64)
	if err != nil || size < disk.MinSize {
		return config.Class{}, 0, fmt.Errorf("%w: volume context of %s: %s is %q; it must be a number of bytes, at least %d",
			volume.ErrInvalid, id, ContextSize, context[ContextSize], disk.MinSize)
	}
	if class.MaxSize > 0 && size > class.MaxSize {
		return config.Class{}, 0, fmt.Errorf("%w: volume %s has %s and class %s allows %s", volume.ErrInvalid, id, binary(size), class.Name, binary(class.MaxSize))
	}
	if err := config.CheckMountOptions(options); err != nil {
		return config.Class{}, 0, fmt.Errorf("mount options of %s: %w", id, err)
	}
	class.MountOptions = append(append([]string{}, class.MountOptions...), options...)
	return class, config.RoundUp(size), nil
}

// isKubernetes says whether a key of the volume context is the orchestrator's own.
func isKubernetes(key string) bool {
	const own = "csi.storage.k8s.io/"
	const provisioner = "storage.kubernetes.io/"
	return len(key) > len(own) && key[:len(own)] == own || len(key) > len(provisioner) && key[:len(provisioner)] == provisioner
}

// BlockDevice gives the device of a volume that was staged as one. See tier.BlockStager.
func (b *Backend) BlockDevice(ctx context.Context, id volume.ID) (string, error) {
	r, ok := b.record(string(id))
	if !ok {
		r.ID = string(id)
	}
	if err := b.checkStagedBlock(r); err != nil {
		return "", err
	}
	d, err := b.diskOf(r)
	if err != nil {
		return "", err
	}
	return d.Attach(ctx, r.Name)
}

// ExpandOnNode grows a volume in use. See tier.NodeExpander.
func (b *Backend) ExpandOnNode(ctx context.Context, id volume.ID, path string, size volume.CapacityRange) (int64, error) {
	r, d, err := b.mounted(ctx, string(id), path)
	if err != nil {
		return 0, err
	}
	if err := size.Check(); err != nil {
		return 0, err
	}
	want := config.RoundUp(size.Required)
	if size.Limit > 0 && max(want, r.Size) > size.Limit {
		return 0, fmt.Errorf("%w: volume %s has %d bytes, sizes are multiples of 1 MiB and it never shrinks; the limit is %d", volume.ErrOutOfRange, id, r.Size, size.Limit)
	}
	class, err := b.class(r.Class)
	if err != nil {
		return 0, err
	}
	if class.MaxSize > 0 && want > max(class.MaxSize, r.Size) {
		return 0, fmt.Errorf("%w: %s is asked for and class %s allows %s", volume.ErrOutOfRange, binary(want), class.Name, binary(class.MaxSize))
	}
	want = max(want, r.Size)
	return want, b.grow(ctx, d, r, path, want)
}
