package warm

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm/volumecontext"
)

const (
	defaultSize = 1 * gib
	// sizeStep is the block in which CephFS clients count a quota in statfs: a quota that is no multiple of it
	// would show as less than was asked for.
	sizeStep = 4 * mib
)

// Create makes the volume, empty, as a copy, or as a window on a snapshot. See tier.Provisioner.
func (b *Backend) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	v, err := b.create(ctx, spec)
	return v, classify(err)
}

func (b *Backend) create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	if err := spec.Capacity.Check(); err != nil {
		return volume.Volume{}, err
	}
	c, s, err := b.resolve(ctx, spec.Parameters, spec.Owner.Namespace)
	if err != nil {
		return volume.Volume{}, err
	}
	if spec.Source.Snapshot != "" && spec.Access.ReadOnly {
		return b.createBacked(ctx, s, c, spec)
	}
	want, err := b.plan(s, c, spec)
	if err != nil {
		return volume.Volume{}, err
	}
	var rec record
	var backedErr error
	together(
		func() { rec, err = readRecord(ctx, s, want.sub) },
		func() { _, backedErr = readAttr[backedRecord](ctx, s, backedPath(s, want.sub)) },
	)
	if err == nil {
		v, err := b.existing(ctx, s, want, rec)
		if !errors.Is(err, errGone) {
			return v, err
		}
		if err := b.forget(ctx, s, want.sub); err != nil {
			return volume.Volume{}, err
		}
	} else if !unfinished(err) {
		return volume.Volume{}, err
	}
	found := !errors.Is(err, syscall.ENOENT)
	if !unfinished(backedErr) {
		if backedErr != nil {
			return volume.Volume{}, backedErr
		}
		return volume.Volume{}, fmt.Errorf("%w: %q is a read-only volume served from a snapshot", volume.ErrExists, spec.Name)
	}
	if !spec.Source.Empty() {
		return b.createCopy(ctx, s, want, found)
	}
	return b.createEmpty(ctx, s, want, found)
}

// wanted is a request that has been checked and given its names.
type wanted struct {
	class  class
	spec   volume.Spec
	sub    ceph.Subvolume
	id     volume.ID
	size   int64
	may    access // of its own identity
	secret string // with the key of that
}

// grant is the identity of the volume, whose data is at path.
func (w wanted) grant(path string) grant {
	return grant{holder: holder{sub: w.sub}, id: w.id, secret: w.secret, may: w.may, path: path, pool: w.class.pool, of: w.sub}
}

func (b *Backend) plan(s site, c class, spec volume.Spec) (wanted, error) {
	sub := ceph.Subvolume{
		Group: groupOf(s.cluster.NamePrefix, c.team),
		Name:  volume.Name(c.volumePrefix, spec.Name, volumeNameLength),
	}
	id, err := volumeRef{cluster: c.cluster, fs: c.fs, sub: sub}.id()
	if err != nil {
		return wanted{}, fmt.Errorf("clusterID, fsName, namePrefix.team and volume name don't fit: %w", err)
	}
	may := accessOf(c, spec)
	secret, err := secretName(may, spec.Owner)
	return wanted{class: c, spec: spec, sub: sub, id: id, size: sizeFor(spec.Capacity), may: may, secret: secret}, err
}

// sizeFor is the least quota that the range allows, in whole steps where the limit leaves room for that.
func sizeFor(c volume.CapacityRange) int64 {
	size := c.Required
	if size == 0 {
		size = defaultSize
		if c.Limit > 0 {
			size = min(size, c.Limit)
		}
	}
	rounded := (size + sizeStep - 1) / sizeStep * sizeStep
	if c.Limit > 0 && rounded > c.Limit {
		return size
	}
	return rounded
}

// volume is the answer to a request that has been fulfilled.
func (w wanted) volume(path string, size int64) volume.Volume {
	return volume.Volume{ID: w.id, Capacity: size, Context: w.class.context(path, false), Source: w.spec.Source}
}

// context is what the node needs to mount path.
func (c class) context(path string, readOnly bool) map[string]string {
	out := volumecontext.Context{
		ClusterID: c.cluster,
		FSName:    c.fs,
		Path:      path,
		Mounter:   volumecontext.Mounter(c.mounter),
		ReadOnly:  readOnly,
	}
	out.FuseOptions, _ = volumecontext.SplitOptions(c.fuseOptions) // parseClass has checked both
	out.KernelOptions, _ = volumecontext.SplitOptions(c.kernOptions)
	return out.Map()
}

// errGone: a record is there and its data isn't; only snapshots are left of the volume.
var errGone = errors.New("the volume was removed")

// existing answers a request whose name is taken: by the volume it asks for, or by another. errGone: by none any more.
func (b *Backend) existing(ctx context.Context, s site, want wanted, rec record) (volume.Volume, error) {
	size, err := number(ctx, s.tree(), rec.Path, attrQuota)
	if errors.Is(err, syscall.ENOENT) {
		return volume.Volume{}, errGone
	}
	if err != nil {
		return volume.Volume{}, err
	}
	spec := want.spec
	differs := func(what string, have, asked any) error {
		return fmt.Errorf("%w: a volume named %q exists with another %s (it has %v, asked was %v); use another name or delete it first",
			volume.ErrExists, rec.Name, what, have, asked)
	}
	switch {
	case rec.Name != spec.Name:
		return volume.Volume{}, differs("name", rec.Name, spec.Name)
	case rec.Source != spec.Source:
		return volume.Volume{}, differs("source", describe(rec.Source), describe(spec.Source))
	case rec.Pool != want.class.pool:
		return volume.Volume{}, differs("pool", rec.Pool, want.class.pool)
	case rec.Identity != want.may:
		return volume.Volume{}, differs(paramIdentity, rec.Identity, want.may)
	case rec.Copy != nil:
		if !spec.Capacity.Allows(rec.Copy.Size) {
			return volume.Volume{}, differs("size", rec.Copy.Size, spec.Capacity.Required)
		}
		return b.finishCopy(ctx, s, want, rec)
	}
	if !spec.Capacity.Allows(size) {
		return volume.Volume{}, differs("size", size, spec.Capacity.Required)
	}
	return want.volume(rec.Path, size), nil
}

func describe(s volume.Source) string {
	switch {
	case s.Volume != "":
		return "volume " + string(s.Volume)
	case s.Snapshot != "":
		return "snapshot " + string(s.Snapshot)
	}
	return "none"
}

// createEmpty makes an empty volume: one manager command, then what the manager has no option for, then the record.
// Until the record is there nobody was given the volume, so every step may be done again.
func (b *Backend) createEmpty(ctx context.Context, s site, want wanted, found bool) (volume.Volume, error) {
	if found {
		if err := adoptable(ctx, s, want); err != nil {
			return volume.Volume{}, err
		}
	}
	var v volume.Volume
	err := b.withinTeam(ctx, s, want.sub, want.class.teamQuota, want.size, func(ctx context.Context) (err error) {
		v, err = b.makeEmpty(ctx, s, want)
		return err
	})
	return v, err
}

func (b *Backend) makeEmpty(ctx context.Context, s site, want wanted) (volume.Volume, error) {
	c := want.class
	options := ceph.SubvolumeOptions{Size: want.size, Pool: c.pool, UID: c.uid, GID: c.gid, Mode: c.mode}
	failpoint.Hit("warm/create/before-subvolume")
	err := s.fs.Create(ctx, want.sub, options)
	if ceph.Absent(err) {
		if err = createGroup(ctx, s, want.sub.Group); err == nil {
			failpoint.Hit("warm/create/after-group")
			err = s.fs.Create(ctx, want.sub, options)
		}
	}
	if err != nil {
		return volume.Volume{}, err
	}
	failpoint.Hit("warm/create/after-subvolume")
	path, err := s.fs.DataDirectory(ctx, want.sub.Base())
	if err != nil {
		return volume.Volume{}, interrupted(err)
	}
	if err := dress(ctx, s, path, want.sub, c); err != nil {
		return volume.Volume{}, interrupted(err)
	}
	g := want.grant(path)
	if err := b.give(ctx, s, &g); err != nil {
		return volume.Volume{}, err
	}
	failpoint.Hit("warm/create/before-record")
	rec := record{Name: want.spec.Name, Path: path, Pool: c.pool, Source: want.spec.Source, Owner: want.spec.Owner,
		Cluster: s.cluster.NamePrefix, Size: want.size, Identity: want.may}
	err = createRecord(ctx, s, want.sub, rec)
	if errors.Is(err, syscall.EEXIST) {
		return b.lost(ctx, s, want, &g)
	}
	if err != nil {
		return volume.Volume{}, b.abandon(ctx, s, g, interrupted(err))
	}
	failpoint.Hit("warm/create/after-record")
	return want.volume(path, want.size), nil
}

// createGroup makes a team's group, or finds it. The command needs nothing but the file system.
func createGroup(ctx context.Context, s site, group string) error {
	err := s.fs.CreateGroup(ctx, group)
	if ceph.Absent(err) {
		return fmt.Errorf("%w: file system %s has been removed: %w", volume.ErrPrecondition, s.fs.Name(), err)
	}
	return err
}

// errDeleted: the volume was deleted while it was being made.
var errDeleted = errors.New("the volume was deleted while it was being made")

// interrupted explains an absence that only a delete of the same volume at the same time can cause.
func interrupted(err error) error {
	if unfinished(err) || errors.Is(err, errGone) {
		return fmt.Errorf("%w: %w", volume.ErrPending, errDeleted)
	}
	return err
}

// lost answers when another controller finished the volume first. Our manager command has set its quota anew, maybe after it
// had been grown, and we have stored a key, maybe after it had been rotated: that is taken back.
func (b *Backend) lost(ctx context.Context, s site, want wanted, g *grant) (_ volume.Volume, err error) {
	lock, err := b.lock(ctx, s, "volume", want.sub.String(), "restore the size")
	if err != nil {
		return volume.Volume{}, err
	}
	defer func() { _ = lock.end(err, nil) }()
	ctx = lock.ctx
	rec, err := readRecord(ctx, s, want.sub)
	if err != nil {
		return volume.Volume{}, interrupted(err)
	}
	if rec.Copy == nil {
		if err := s.tree().SetXattr(ctx, rec.Path, attrQuota, strconv.FormatInt(rec.Size, 10)); err != nil {
			return volume.Volume{}, interrupted(err)
		}
	}
	v, err := b.existing(ctx, s, want, rec)
	if err == nil {
		if err = b.give(ctx, s, g); errors.Is(err, errFenced) {
			err = nil // since it was finished
		}
	}
	return v, interrupted(err)
}

// adoptable says whether a directory without a record may become the volume: one that an interrupted request of the same size
// left, or the husk of a removed volume that only keeps snapshots.
func adoptable(ctx context.Context, s site, want wanted) error {
	info, err := s.fs.Info(ctx, want.sub)
	switch {
	case ceph.Absent(err):
		return nil
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%w: %s is an unfinished copy", volume.ErrExists, want.sub)
	case err != nil:
		return err
	case info.State == ceph.StateRetained:
		return nil
	case info.Type == ceph.TypeClone:
		return fmt.Errorf("%w: %s is a copy that an interrupted request left; delete it first or use another name", volume.ErrExists, want.sub)
	case info.Quota == want.size && info.DataPool == want.class.pool:
		return nil
	}
	return fmt.Errorf("%w: subvolume %s of file system %s (%d bytes in pool %s) isn't a volume of this driver; remove it with `ceph fs subvolume rm %s %s %s` or use another name",
		volume.ErrExists, want.sub, s.fs.Name(), info.Quota, info.DataPool, s.fs.Name(), want.sub.Name, want.sub.Group)
}

// dress sets what the manager's commands have no option for, while the volume is still empty.
func dress(ctx context.Context, s site, path string, sub ceph.Subvolume, c class) error {
	for _, a := range attributes(sub, c) {
		if err := s.tree().SetXattr(ctx, path, a.name, a.value); err != nil {
			return err
		}
		failpoint.Hit("warm/create/after-attribute")
	}
	return nil
}

type attribute struct{ name, value string }

func attributes(sub ceph.Subvolume, c class) []attribute {
	list := append([]attribute{{attrNamespace, namespaceOf(sub)}}, stripeAttributes(c.layout)...)
	if c.maxFiles > 0 {
		list = append(list, attribute{attrMaxFiles, strconv.FormatInt(c.maxFiles, 10)})
	}
	return list
}

// stripeAttributes are the class's striping. The three numbers go in one attribute: set one by one, some orders would pass
// a layout that the metadata server refuses.
func stripeAttributes(l layout) []attribute {
	var fields []string
	for _, f := range []struct {
		name  string
		value int64
	}{{"stripe_unit", l.stripeUnit}, {"stripe_count", l.stripeCount}, {"object_size", l.objectSize}} {
		if f.value > 0 {
			fields = append(fields, f.name+"="+strconv.FormatInt(f.value, 10))
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return []attribute{{attrLayout, strings.Join(fields, " ")}}
}
