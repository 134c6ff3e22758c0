// Package provisioner is the controller's side of tier scratch. It makes nothing: a volume comes to be, empty, when a node stages it, and
// is gone when the node unstages it. The controller gives it a name and a size, and places it on a node that has room by the
// reports of the nodes; the node, which alone knows, may still refuse.
//
// It keeps nothing on any disk either. That a name is used again for another size or class is noticed while the process remembers it:
// the last 10000 names, until it is restarted. After that the same request gets the same volume again, which is all that a
// repetition needs, and a different one for the same name gets what it asks for, where a tier with state would refuse it. Kubernetes never does
// that: the name is made of the claim's UID, and a claim's size and class don't change before it is bound. The size of a volume that was
// grown is the node's to remember.
package provisioner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/report"
	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// Parameters of a StorageClass, and keys of the volume context that a node gets.
const (
	ParameterTier  = "tier"
	ParameterClass = "class" // a class of the nodes' configuration; default: config.DefaultClass
	ContextSize    = "size"  // bytes, decimal; in the context alone
)

// DefaultSize is the size, bytes, of a volume for which none is asked. A claim of Kubernetes always asks for one.
const DefaultSize = 1 << 30

// maxSize is the most that can be asked for, bytes; config.ParseSize has the same.
const maxSize = 1 << 60

const rememberedNames = 10000

// Provisioner is the controller's side of tier scratch. Its methods can be called from many goroutines.
type Provisioner struct {
	source report.Source
	names  *memory
}

var (
	_ tier.Provisioner      = (*Provisioner)(nil)
	_ tier.AccessChecker    = (*Provisioner)(nil)
	_ tier.Expander         = (*Provisioner)(nil)
	_ tier.CapacityReporter = (*Provisioner)(nil)
)

// New returns a Provisioner that places volumes by the reports of source; nil: nothing is known of any node.
func New(source report.Source) *Provisioner {
	return &Provisioner{source: source, names: newMemory(rememberedNames)}
}

// Create names and places a volume. See tier.Provisioner.
func (p *Provisioner) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	class, err := parse(spec.Parameters)
	if err != nil {
		return volume.Volume{}, err
	}
	if !spec.Source.Empty() {
		return volume.Volume{}, fmt.Errorf("%w: a scratch volume begins empty: remove the dataSource", volume.ErrUnsupported)
	}
	if err := p.CheckAccess(spec.Access); err != nil {
		return volume.Volume{}, err
	}
	size, err := sizeOf(spec.Capacity)
	if err != nil {
		return volume.Volume{}, err
	}
	name := volume.Name("", spec.Name, volume.NameLength)
	known, ok := p.names.get(name)
	switch {
	case ok && known.class != class:
		return volume.Volume{}, fmt.Errorf("%w: volume %q is of class %s and %s is asked for", volume.ErrExists, spec.Name, known.class, class)
	case ok && !spec.Capacity.Allows(known.size):
		return volume.Volume{}, fmt.Errorf("%w: volume %q has %d bytes and %d to %d are asked for (0: no limit)", volume.ErrExists, spec.Name, known.size,
			spec.Capacity.Required, spec.Capacity.Limit)
	case ok:
		size = known.size
	}
	segments := known.segments
	if !ok || !among(segments, spec.Preferred) {
		if segments, err = p.place(ctx, class, size, spec.Preferred); err != nil {
			return volume.Volume{}, err
		}
	}
	v, err := volumeOf(class, name, size)
	if err != nil {
		return volume.Volume{}, err
	}
	p.names.put(name, remembered{class: class, size: size, segments: segments})
	v.Segments = segments
	return v, nil
}

// Delete has nothing to do: the node destroyed the volume when it was unstaged. See tier.Provisioner.
func (p *Provisioner) Delete(_ context.Context, id volume.ID) error {
	if class, name, err := parseID(id); err == nil {
		if known, ok := p.names.get(name); ok && known.class == class {
			p.names.remove(name)
		}
	}
	return nil
}

// Get returns a volume of any id that Create could have given, with Capacity 0 where the size isn't remembered. See tier.Provisioner.
func (p *Provisioner) Get(_ context.Context, id volume.ID) (volume.Volume, error) {
	class, name, err := parseID(id)
	if err != nil {
		return volume.Volume{}, err
	}
	v := volume.Volume{ID: id}
	if known, ok := p.names.get(name); ok && known.class == class {
		v.Capacity = known.size
	}
	return v, nil
}

// CheckParameters refuses the parameters of a StorageClass that Create would refuse. See tier.Provisioner.
func (p *Provisioner) CheckParameters(parameters map[string]string) error {
	_, err := parse(parameters)
	return err
}

// CheckAccess refuses a volume for several nodes. A block device may be asked for; whether a node can give one is its disks'
// matter. See tier.AccessChecker.
func (p *Provisioner) CheckAccess(access volume.Access) error {
	if access.MultiNode {
		return fmt.Errorf("%w: a scratch volume is on one node: use the access mode ReadWriteOnce or ReadWriteOncePod", volume.ErrInvalid)
	}
	return nil
}

// Expand returns the size to which the node will grow the volume. The controller knows no current size for certain: the node leaves
// a larger volume as it is. See tier.Expander.
func (p *Provisioner) Expand(_ context.Context, id volume.ID, capacity volume.CapacityRange) (int64, bool, error) {
	class, name, err := parseID(id)
	if err != nil {
		return 0, false, err
	}
	if err := capacity.Check(); err != nil {
		return 0, false, err
	}
	if capacity.Required == 0 {
		return 0, false, fmt.Errorf("%w: required_bytes is missing: it is the size to grow to", volume.ErrInvalid)
	}
	size, err := sizeOf(capacity)
	if err != nil {
		return 0, false, err
	}
	if known, ok := p.names.get(name); ok && known.class == class {
		if known.size > size {
			if !capacity.Allows(known.size) {
				return 0, false, fmt.Errorf("%w: volume %s has %d bytes, which is above limit_bytes %d, and never shrinks", volume.ErrOutOfRange, id, known.size, capacity.Limit)
			}
			size = known.size
		}
		known.size = size
		p.names.put(name, known)
	}
	return size, true, nil
}

// sizeOf is the least size that the range allows: a multiple of 1 MiB and at least disk.MinSize.
func sizeOf(c volume.CapacityRange) (int64, error) {
	if err := c.Check(); err != nil {
		return 0, err
	}
	if c.Required > maxSize {
		return 0, fmt.Errorf("%w: required_bytes %d is larger than any disk: the most is %d", volume.ErrOutOfRange, c.Required, int64(maxSize))
	}
	size := config.RoundUp(max(c.Required, disk.MinSize))
	if c.Required == 0 {
		size = DefaultSize
		if c.Limit > 0 {
			size = max(min(size, c.Limit>>20<<20), disk.MinSize)
		}
	}
	if !c.Allows(size) {
		return 0, fmt.Errorf("%w: a scratch volume has a multiple of 1 MiB and at least %d bytes; %d is the least that holds required_bytes %d, and it is above limit_bytes %d",
			volume.ErrOutOfRange, disk.MinSize, size, c.Required, c.Limit)
	}
	return size, nil
}

// parse returns the class that a StorageClass names.
func parse(parameters map[string]string) (string, error) {
	known := []string{ParameterTier, ParameterClass}
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		if !slices.Contains(known, key) {
			return "", fmt.Errorf("%w: a StorageClass of tier %s has no parameter %q%s; it has %s", volume.ErrInvalid, volume.Scratch, key,
				suggest.Hint(key, known), strings.Join(known, ", "))
		}
	}
	if t, given := parameters[ParameterTier]; given && t != string(volume.Scratch) {
		return "", fmt.Errorf("%w: parameter %s: %q is not %s", volume.ErrInvalid, ParameterTier, t, volume.Scratch)
	}
	class, given := parameters[ParameterClass]
	if !given {
		return config.DefaultClass, nil
	}
	if err := config.CheckName(class); err != nil {
		return "", fmt.Errorf("parameter %s: %w", ParameterClass, err)
	}
	return class, nil
}

func volumeOf(class, name string, size int64) (volume.Volume, error) {
	id, err := volume.NewID(volume.Scratch, class, name)
	return volume.Volume{ID: id, Capacity: size, Context: map[string]string{
		ParameterTier: string(volume.Scratch), ParameterClass: class, ContextSize: strconv.FormatInt(size, 10),
	}}, err
}

// parseID takes an id apart. An error wraps volume.ErrNotFound: what Create never makes is no volume.
func parseID(id volume.ID) (class, name string, err error) {
	parts := id.Parts()
	if id.Tier() == volume.Scratch && len(parts) == 2 && config.CheckName(parts[0]) == nil &&
		len(parts[1]) <= volume.NameLength && volume.CheckPart(parts[1]) == nil {
		return parts[0], parts[1], nil
	}
	return "", "", fmt.Errorf("%w: %q is not the id of a scratch volume, which is %s:CLASS:NAME", volume.ErrNotFound, id, volume.Scratch)
}

// reports are those of the source. Without them volumes are placed blindly: the node still has its say.
func (p *Provisioner) reports(ctx context.Context) []report.Report {
	if p.source == nil {
		return nil
	}
	all, err := p.source.Reports(ctx)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Placing a scratch volume without knowing what room the nodes have")
	}
	return all
}
