package warm

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// With `identity: volume` every volume has a cephx identity of its own, and nodes are given that one's key: what runs on a node can be
// read there, and nothing else.
//
// A directory of the index says that a volume may have an identity, and in which secret its key is. It is made before the identity and
// removed after it, so that a leftover can be found without the right to list the users of the cluster, which would show every key.
// Nobody is given the volume before its record is written, which comes last: until then each step may be done again.

// Values of the parameter `identity`.
const (
	identityShared = "shared" // nodes mount with whatever secret the StorageClass names
	identityVolume = "volume" // the driver makes the secret
)

// Fields of the secret, as the node reads them (pkg/warm/client).
const (
	secretUser = "userID"
	secretKey  = "userKey"
)

// Keeper keeps the keys of identities where the orchestrator finds them when a node stages a volume. Both calls may be repeated, and end
// in the same state.
type Keeper interface {
	// Keep stores the fields of a volume's secret, or replaces them. volume.ErrExists: the name belongs to something else.
	Keep(ctx context.Context, name string, id volume.ID, fields map[string]string) error
	// Drop removes a volume's secret; one that isn't there is no error, and one of something else stays.
	Drop(ctx context.Context, name string, id volume.ID) error
}

// errNoKeeper explains what `identity: volume` needs.
func errNoKeeper(what string) error {
	return fmt.Errorf("%w: %s needs the Kubernetes API, where the key is kept in a Secret: start strata-controller with --kubeconfig "+
		"(in-cluster in a pod) and --namespace, or use %s: %s", volume.ErrPrecondition, what, paramIdentity, identityShared)
}

// access is what the identity of a volume may do, as its record says it.
type access string

const (
	accessNone  access = "" // it has none: nodes mount with a shared one
	accessRead  access = "r"
	accessWrite access = "rw"
)

func (a access) String() string {
	switch a {
	case accessRead:
		return identityVolume + ", reading only"
	case accessWrite:
		return identityVolume
	}
	return identityShared
}

// accessOf is what the identity of a new volume may do.
func accessOf(c class, spec volume.Spec) access {
	switch {
	case !c.ownIdentity:
		return accessNone
	case spec.Access.ReadOnly:
		return accessRead
	}
	return accessWrite
}

// secretName is the name of the secret with the key: that of the PersistentVolume, which the StorageClass can refer to.
func secretName(a access, o volume.Owner) (string, error) {
	if a != accessNone && o.PV == "" {
		return "", fmt.Errorf("%w: %s: %s stores the key in a Secret named after the PersistentVolume, and the request doesn't name it; "+
			"run external-provisioner with --extra-create-metadata", volume.ErrPrecondition, paramIdentity, identityVolume)
	}
	return o.PV, nil
}

// identityRecord is what a directory of the index says of the identities of a volume. What it names may not have been made yet, or be
// gone already; what it doesn't name isn't there.
type identityRecord struct {
	Volume volume.ID `json:"volume"`
	Secret string    `json:"secret"`
	// Generation counts the rotations. Its secret is to have this one's key.
	Generation int `json:"generation,omitempty"`
	// Oldest is the first generation that wasn't retired.
	Oldest int `json:"oldest,omitempty"`
	// Fenced: the volume has no identity and no secret until the fence is undone.
	Fenced bool `json:"fenced,omitempty"`
}

// holder is a volume as far as its identity is concerned.
type holder struct {
	sub    ceph.Subvolume
	backed bool
}

func (h holder) kind() string {
	if h.backed {
		return "snapshot"
	}
	return "volume"
}

// identityPath is the directory of the index.
func identityPath(s site, h holder) string {
	return path.Join(indexRoot, s.cluster.NamePrefix, "identities", h.kind(), h.sub.Group, h.sub.Name)
}

// identityName is strata.<namePrefix>.<volume or snapshot>.<team>.<fsName>.<name>, and of those that rotations made
// strata.<namePrefix>.volume-<generation>.…. Only the last part may hold a '.', so no two volumes share one.
func identityName(s site, h holder, generation int) string {
	prefix, team, _ := strings.Cut(h.sub.Group, groupSeparator)
	fs := strings.NewReplacer("_", "__", ".", "_d").Replace(s.fs.Name())
	kind := h.kind()
	if generation > 0 {
		kind += "-" + strconv.Itoa(generation)
	}
	return strings.Join([]string{"strata", prefix, kind, team, fs, h.sub.Name}, ".")
}

// names are those of the identities from one generation to another.
func names(s site, h holder, from, to int) (list []string) {
	for n := from; n <= to; n++ {
		list = append(list, identityName(s, h, n))
	}
	return list
}

// unmint removes identities, the newest last: it is the one that the secret has.
func unmint(ctx context.Context, s site, names []string) error {
	for _, name := range names {
		if err := ceph.Unmint(ctx, s.conn, name); err != nil {
			return err
		}
	}
	return nil
}

// grant is an identity to be made.
type grant struct {
	holder
	id     volume.ID
	secret string
	may    access
	path   string
	pool   string
	of     ceph.Subvolume // whose objects they are
	// given is the record by which give made it.
	given identityRecord
}

func (g grant) identity(s site, generation int) ceph.Identity {
	return ceph.Identity{Name: identityName(s, g.holder, generation), FS: s.fs.Name(), Path: g.path, Pool: g.pool, Namespace: namespaceOf(g.of),
		ReadOnly: g.may == accessRead}
}

// give makes the identity of a volume and stores its key, or finds both. Without one to be made it does nothing. A request that is late
// doesn't undo a rotation: it goes by the generation that the index names.
func (b *Backend) give(ctx context.Context, s site, g *grant) error {
	if g.may == accessNone {
		return nil
	}
	own := identityPath(s, g.holder)
	if err := makeDirs(ctx, s.tree(), own); err != nil {
		return err
	}
	failpoint.Hit("warm/identity/after-directory")
	g.given = identityRecord{Volume: g.id, Secret: g.secret}
	err := writeAttr(ctx, s.tree().CreateXattr, own, g.given)
	if errors.Is(err, syscall.EEXIST) {
		err = adopt(ctx, s, g)
	}
	if err != nil {
		return interrupted(err)
	}
	if g.given.Fenced {
		return errFenced
	}
	failpoint.Hit("warm/identity/after-record")
	err = b.mint(ctx, s, *g, g.given)
	if errors.Is(err, ceph.ErrOtherCapabilities) {
		// That of a former volume of this name, which was removed by hand: nobody has been given this one yet.
		if err := unmint(ctx, s, names(s, g.holder, g.given.Oldest, g.given.Generation)); err != nil {
			return err
		}
		failpoint.Hit("warm/identity/after-former")
		err = b.mint(ctx, s, *g, g.given)
	}
	return err
}

// adopt takes over the record that is there: of a request before, or of a former volume of this name.
func adopt(ctx context.Context, s site, g *grant) error {
	own := identityPath(s, g.holder)
	have, err := readAttr[identityRecord](ctx, s, own)
	if err != nil {
		return err
	}
	g.given = have
	if have.Volume == g.id && have.Secret == g.secret {
		return nil
	}
	g.given.Volume, g.given.Secret = g.id, g.secret
	return writeAttr(ctx, s.tree().SetXattr, own, g.given)
}

// mint makes the identity of the newest generation of a record and stores its key, or finds both.
func (b *Backend) mint(ctx context.Context, s site, g grant, rec identityRecord) error {
	i := g.identity(s, rec.Generation)
	key, err := ceph.Mint(ctx, s.conn, i)
	if err != nil {
		return err
	}
	failpoint.Hit("warm/identity/after-mint")
	if err := b.keeper.Keep(ctx, g.secret, g.id, map[string]string{secretUser: i.Name, secretKey: key.Reveal()}); err != nil {
		return err
	}
	failpoint.Hit("warm/identity/after-secret")
	return nil
}

// taken is what takeBack found: whether the volume has, or had, an identity, and up to which generation they were removed.
type taken struct {
	had  bool
	upTo int // -1: none
}

// takeBack removes the identities of a volume and its secret. When it had one, or one was in the making, the directory of the index
// stays, for forgetIdentity to remove as the last of the volume.
func (b *Backend) takeBack(ctx context.Context, s site, h holder) (taken, error) {
	rec, err := readAttr[identityRecord](ctx, s, identityPath(s, h))
	if unfinished(err) { // without a record nothing was made yet
		return taken{had: !ceph.Absent(err), upTo: -1}, nil
	}
	if err != nil {
		return taken{}, err
	}
	if b.keeper == nil {
		return taken{}, errNoKeeper("removing volume " + string(rec.Volume) + ", which has an identity of its own,")
	}
	failpoint.Hit("warm/identity/before-removal")
	if err := unmint(ctx, s, names(s, h, rec.Oldest, rec.Generation)); err != nil {
		return taken{}, err
	}
	failpoint.Hit("warm/identity/after-removal")
	if err := b.keeper.Drop(ctx, rec.Secret, rec.Volume); err != nil {
		return taken{}, err
	}
	failpoint.Hit("warm/identity/after-drop")
	return taken{had: true, upTo: rec.Generation}, nil
}

// forgetIdentity removes the directory of the index, as the last of a volume. A rotation that began before the volume went may have
// named another generation meanwhile; one that finds the volume gone takes back what it made by itself.
func (b *Backend) forgetIdentity(ctx context.Context, s site, h holder, t taken) error {
	rec, err := readAttr[identityRecord](ctx, s, identityPath(s, h))
	switch {
	case ceph.Absent(err):
		return nil
	case errors.Is(err, syscall.ENODATA): // never had a record
	case err != nil:
		return err
	case rec.Generation > t.upTo:
		if _, err := b.takeBack(ctx, s, h); err != nil {
			return err
		}
	}
	return removeDir(ctx, s.tree(), identityPath(s, h))
}

// abandon takes back the identity of a volume that was deleted while it was being made, which err says. The deletion may have come before
// the identity did; that the volume is there again, made by another request, is the one case in which it stays.
func (b *Backend) abandon(ctx context.Context, s site, g grant, err error) error {
	if g.may == accessNone || !errors.Is(err, errDeleted) {
		return err
	}
	place := g.sub.Base()
	if g.backed {
		place = backedPath(s, g.sub)
	}
	if _, there := s.tree().Xattr(ctx, place, attrRecord); !ceph.Absent(there) {
		return err
	}
	return errors.Join(err,
		unmint(ctx, s, names(s, g.holder, g.given.Oldest, g.given.Generation)),
		b.keeper.Drop(ctx, g.secret, g.id),
		b.forgetIdentity(ctx, s, g.holder, taken{had: true, upTo: g.given.Generation}))
}

// poolOf is the pool of a directory's files.
func poolOf(ctx context.Context, s site, dir string) (string, error) {
	pool, err := s.tree().Xattr(ctx, dir, attrPool)
	if errors.Is(err, syscall.ENODATA) {
		return "", fmt.Errorf("%w: %s names no pool, so that no identity can be bound to one", volume.ErrPrecondition, dir)
	}
	return strings.TrimRight(pool, "\x00"), err
}

// Revoke removes the identity of a volume that isn't there, and its secret: a leftover of one that was removed by hand. volume.ErrPrecondition:
// the volume is there. A volume that is being made at the same time may lose its own; its data is never touched.
func (b *Backend) Revoke(ctx context.Context, id volume.ID) error {
	ref, err := parseVolume(id)
	if err != nil {
		return err
	}
	s, err := b.reach(ctx, ref.cluster, ref.fs, ref.sub)
	if err != nil {
		return classify(err)
	}
	return classify(b.revoke(ctx, s, id, holder{sub: ref.sub, backed: ref.backed}))
}

func (b *Backend) revoke(ctx context.Context, s site, id volume.ID, h holder) error {
	place := backedPath(s, h.sub)
	if !h.backed {
		var err error
		if place, err = s.fs.DataDirectory(ctx, h.sub.Base()); err != nil && !ceph.Absent(err) {
			return err
		}
	}
	if place != "" {
		if _, err := s.tree().ReadDir(ctx, place); !ceph.Absent(err) {
			if err == nil {
				err = fmt.Errorf("%w: volume %s is there: it is deleted with its PersistentVolume", volume.ErrPrecondition, id)
			}
			return err
		}
	}
	t, err := b.takeBack(ctx, s, h)
	if err != nil || !t.had {
		return err
	}
	return b.forgetIdentity(ctx, s, h, t)
}
