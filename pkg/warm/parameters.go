package warm

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/volume"
)

// Parameters of a StorageClass (and, for the last, of a VolumeSnapshotClass); docs/parameters.md explains each.
const (
	paramTier           = "tier"
	paramCluster        = "clusterID"
	paramFS             = "fsName"
	paramPool           = "pool"
	paramTeam           = "team"
	paramTeamQuota      = "teamQuota"
	paramIdentity       = "identity"
	paramMounter        = "mounter"
	paramFuseOptions    = "fuseMountOptions"
	paramKernelOptions  = "kernelMountOptions"
	paramUID            = "uid"
	paramGID            = "gid"
	paramMode           = "mode"
	paramVolumePrefix   = "volumeNamePrefix"
	paramMaxFiles       = "maxFiles"
	paramStripeUnit     = "stripeUnit"
	paramStripeCount    = "stripeCount"
	paramObjectSize     = "objectSize"
	paramSnapshotPrefix = "snapshotNamePrefix"
)

// classParameters and snapshotParameters are what each kind of class may hold. A StorageClass may carry the
// snapshot prefix so that a team keeps one set of parameters.
var (
	classParameters = []string{paramTier, paramCluster, paramFS, paramPool, paramTeam, paramTeamQuota, paramIdentity, paramMounter,
		paramFuseOptions, paramKernelOptions, paramUID, paramGID, paramMode, paramVolumePrefix, paramMaxFiles, paramStripeUnit,
		paramStripeCount, paramObjectSize, paramSnapshotPrefix}
	snapshotParameters = []string{paramTier, paramSnapshotPrefix}
)

const (
	defaultTeam = "default"
	defaultMode = "0777" // only pods that have the volume see it; docs/parameters.md
	// teamOfNamespace, as the value of `team`, gives every Kubernetes namespace a team of its own.
	teamOfNamespace = "${pvc.namespace}"

	kib, mib, gib = int64(1) << 10, int64(1) << 20, int64(1) << 30
	// stripeAlign is what CephFS wants a stripe unit and an object size to be a multiple of.
	stripeAlign = 64 * kib
)

// class is a StorageClass of this tier, its parameters checked and defaults filled in.
type class struct {
	cluster      string
	fs           string
	pool         string // "" is the file system's first data pool
	team         string
	teamQuota    int64 // bytes, of a team that has none yet; 0: none
	ownIdentity  bool  // each volume has a cephx identity of its own
	volumePrefix string
	mounter      string
	fuseOptions  string
	kernOptions  string
	uid, gid     *int
	mode         string
	maxFiles     int64
	layout       layout
}

// layout is how files are cut into objects; zero fields keep the file system's own.
type layout struct{ stripeUnit, stripeCount, objectSize int64 }

var (
	partPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	modePattern = regexp.MustCompile(`^[0-7]{3,4}$`)
	optionChars = regexp.MustCompile(`^[A-Za-z0-9_.,=:/+-]*$`)
)

// checkNames refuses parameters that the tier doesn't know and names the nearest that it does.
func checkNames(kind string, parameters map[string]string, known []string) error {
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if slices.Contains(known, name) {
			continue
		}
		return fmt.Errorf("%w: %s of tier warm has no parameter %q%s; it has %s", volume.ErrInvalid, kind, name,
			suggest.Hint(name, known), strings.Join(known, ", "))
	}
	return nil
}

// parseClass checks the parameters of a StorageClass on top of the cluster's defaults. Only namespace, which may be empty, comes from
// the request itself. It doesn't look at the cluster: fs and pool may still be empty.
func parseClass(parameters, defaults map[string]string, namespace string) (class, error) {
	if err := checkNames("a StorageClass", parameters, classParameters); err != nil {
		return class{}, err
	}
	all := maps.Clone(defaults)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, parameters)
	p := parser{values: all}
	c := class{
		cluster:      all[paramCluster],
		fs:           p.part(paramFS),
		pool:         p.part(paramPool),
		team:         p.team(namespace),
		teamQuota:    p.quantity(paramTeamQuota),
		ownIdentity:  p.choice(paramIdentity, identityShared, identityVolume) == identityVolume,
		volumePrefix: p.name(paramVolumePrefix, ""),
		mounter:      p.choice(paramMounter, "auto", "kernel", "fuse"),
		fuseOptions:  p.options(paramFuseOptions),
		kernOptions:  p.options(paramKernelOptions),
		uid:          p.id(paramUID),
		gid:          p.id(paramGID),
		mode:         p.mode(),
		maxFiles:     p.number(paramMaxFiles, 1),
		layout: layout{
			stripeUnit:  p.size(paramStripeUnit),
			stripeCount: p.number(paramStripeCount, 1),
			objectSize:  p.size(paramObjectSize),
		},
	}
	p.name(paramSnapshotPrefix, "")
	p.layout(c.layout)
	return c, p.err
}

// snapshotPrefix checks the parameters of a VolumeSnapshotClass.
func snapshotPrefix(parameters map[string]string) (string, error) {
	if err := checkNames("a VolumeSnapshotClass", parameters, snapshotParameters); err != nil {
		return "", err
	}
	p := parser{values: parameters}
	return p.name(paramSnapshotPrefix, ""), p.err
}

// parser reads parameters one by one and keeps the first error.
type parser struct {
	values map[string]string
	err    error
}

func (p *parser) fail(name, allowed string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: parameter %s: %q is not %s", volume.ErrInvalid, name, p.values[name], allowed)
	}
}

// part reads a Ceph name that becomes part of an id; "" when absent.
func (p *parser) part(name string) string {
	v := p.values[name]
	if v != "" && volume.CheckPart(v) != nil {
		p.fail(name, "a name of letters, digits, '.', '_' and '-' that doesn't begin with '-'")
	}
	return v
}

func (p *parser) name(name, fallback string) string {
	v, ok := p.values[name]
	if !ok || v == "" {
		return fallback
	}
	if len(v) > 20 || !partPattern.MatchString(v) {
		p.fail(name, "1 to 20 lower-case letters, digits and inner '-'")
	}
	return v
}

func (p *parser) team(namespace string) string {
	v := p.values[paramTeam]
	switch v {
	case "":
		return defaultTeam
	case teamOfNamespace:
		if namespace == "" {
			p.fail(paramTeam, "usable here: the request names no namespace; run external-provisioner with --extra-create-metadata")
		}
		return namespace
	}
	if len(v) > 63 || !partPattern.MatchString(v) {
		p.fail(paramTeam, "1 to 63 lower-case letters, digits and inner '-', or "+teamOfNamespace)
	}
	return v
}

func (p *parser) choice(name string, allowed ...string) string {
	v, ok := p.values[name]
	if !ok || v == "" {
		return allowed[0]
	}
	if !slices.Contains(allowed, v) {
		p.fail(name, "one of "+strings.Join(allowed, ", "))
	}
	return v
}

func (p *parser) options(name string) string {
	v := p.values[name]
	if len(v) > 1024 || !optionChars.MatchString(v) {
		p.fail(name, "a comma-separated list of at most 1024 characters [A-Za-z0-9_.=:/+-]")
	}
	return v
}

func (p *parser) id(name string) *int {
	v, ok := p.values[name]
	if !ok || v == "" {
		return nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		p.fail(name, "a number from 0 to 2147483647")
	}
	id := int(n)
	return &id
}

func (p *parser) mode() string {
	v, ok := p.values[paramMode]
	if !ok || v == "" {
		return defaultMode
	}
	if !modePattern.MatchString(v) {
		p.fail(paramMode, `an octal file mode of three or four digits, like "0770"`)
	}
	return v
}

// number reads a count of at least min; 0 when absent.
func (p *parser) number(name string, min int64) int64 {
	v, ok := p.values[name]
	if !ok || v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < min {
		p.fail(name, fmt.Sprintf("a number of at least %d", min))
	}
	return n
}

var suffixes = []struct {
	text string
	unit int64
}{{"Ki", kib}, {"Mi", mib}, {"Gi", gib}, {"Ti", kib * gib}, {"Pi", mib * gib}, {"", 1}}

// bytes reads a number of bytes up to max, with the binary suffixes of Kubernetes; 0: it is none.
func bytes(v string, max int64) int64 {
	for _, s := range suffixes {
		digits, found := strings.CutSuffix(v, s.text)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err == nil && n > 0 && n <= max/s.unit {
			return n * s.unit
		}
		break
	}
	return 0
}

// size reads a length of the layout, bytes; 0 when absent.
func (p *parser) size(name string) int64 {
	v, ok := p.values[name]
	if !ok || v == "" {
		return 0
	}
	n := bytes(v, gib)
	if n == 0 || n%stripeAlign != 0 {
		p.fail(name, "a multiple of 64Ki up to 1Gi")
	}
	return n
}

// quantity reads what a team may have, bytes; 0 when absent.
func (p *parser) quantity(name string) int64 {
	v, ok := p.values[name]
	if !ok || v == "" {
		return 0
	}
	n := bytes(v, kib*mib*gib)
	if n < sizeStep {
		p.fail(name, "a size from 4Mi to 1024Pi, such as 500Gi or 2Ti")
	}
	return n
}

// layout checks what the metadata server would refuse with a bare EINVAL.
func (p *parser) layout(l layout) {
	object := l.objectSize
	if object == 0 {
		object = 4 * mib // Ceph's own default
	}
	if l.stripeUnit > 0 && object%l.stripeUnit != 0 {
		p.fail(paramStripeUnit, fmt.Sprintf("a divisor of the object size (%d bytes)", object))
	}
}
