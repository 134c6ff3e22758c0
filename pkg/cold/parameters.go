package cold

// The parameters of a StorageClass.

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/volume"
)

// The parameters that the volume's context doesn't have; docs/parameters.md explains each.
const (
	paramTeam            = "team"
	paramOnDelete        = "onDelete"
	paramBucketPerVolume = "bucketPerVolume"
)

// classParameters are what a class may have.
var classParameters = []string{
	volumecontext.KeyTier, volumecontext.KeyEndpoint, volumecontext.KeyRegion, volumecontext.KeyBucket, volumecontext.KeyPrefix, paramTeam,
	volumecontext.KeyPathStyle, volumecontext.KeyCABundle, volumecontext.KeyStorageClass, volumecontext.KeySSE, volumecontext.KeyReadOnly,
	volumecontext.KeyImmutable, volumecontext.KeyCacheSize, volumecontext.KeyUID, volumecontext.KeyGID, volumecontext.KeyDirMode,
	volumecontext.KeyFileMode, volumecontext.KeyMetadataTTL, volumecontext.KeyEnforceQuota, paramOnDelete, paramBucketPerVolume,
	volumecontext.KeyIdentity, volumecontext.KeyRoleARN, volumecontext.KeySTSEndpoint, volumecontext.KeyCredentialsLifetime,
}

// teamOfNamespace, as the value of `team`, gives every Kubernetes namespace a team of its own.
const teamOfNamespace = "${pvc.namespace}"

var teamPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// class is a StorageClass, its parameters checked and defaults filled in.
type class struct {
	// context is that of its volumes, without a capacity. Its bucket and prefix are the class's, what stands before the volume's own name.
	context         volumecontext.Context
	team            string // "": none
	onDelete        string
	bucketPerVolume bool
	// parameters is a hash of all of it.
	parameters string
}

// parseClass checks the parameters. Only namespace, which may be empty, comes from the request itself.
func parseClass(parameters map[string]string, namespace string) (class, error) {
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if !slices.Contains(classParameters, name) {
			return class{}, fmt.Errorf("%w: a StorageClass of tier cold has no parameter %q%s; it has %s", volume.ErrInvalid, name,
				suggest.Hint(name, classParameters), strings.Join(classParameters, ", "))
		}
	}
	c := class{onDelete: parameters[paramOnDelete]}
	switch c.onDelete {
	case "":
		c.onDelete = marker.Delete
	case marker.Delete, marker.Retain:
	default:
		return class{}, wrong(parameters, paramOnDelete, "one of %s, %s", marker.Delete, marker.Retain)
	}
	switch parameters[paramBucketPerVolume] {
	case "", "false":
	case "true":
		c.bucketPerVolume = true
	default:
		return class{}, wrong(parameters, paramBucketPerVolume, `"true" or "false"`)
	}
	var err error
	if c.team, err = teamOf(parameters, namespace); err != nil {
		return class{}, err
	}
	shared := maps.Clone(parameters)
	if c.bucketPerVolume && shared[volumecontext.KeyBucket] == "" {
		shared[volumecontext.KeyBucket] = "strata"
	}
	if c.context, err = volumecontext.Read(shared); err != nil {
		return class{}, fmt.Errorf("StorageClass: %w", err)
	}
	if c.context.Identity == volumecontext.IdentityReader {
		return class{}, wrong(parameters, volumecontext.KeyIdentity, "one of shared, %s; %s or access modes that only read make one that only reads", volumecontext.IdentityVolume,
			volumecontext.KeyReadOnly)
	}
	if c.bucketPerVolume && c.context.Prefix != "" {
		return class{}, fmt.Errorf("%w: parameters %s and %s: a volume that has a bucket of its own has no prefix; leave one of them out", volume.ErrInvalid,
			paramBucketPerVolume, volumecontext.KeyPrefix)
	}
	for _, part := range c.prefixParts() {
		if err := volume.CheckPart(part); err != nil {
			return class{}, fmt.Errorf("parameter %s: %w; the parts between '/' stand in the volume's id", volumecontext.KeyPrefix, err)
		}
	}
	raw, err := json.Marshal([]any{c.context.Map(), c.team, c.onDelete, c.bucketPerVolume})
	if err != nil {
		return class{}, err
	}
	c.parameters = fmt.Sprintf("%.16x", sha256.Sum256(raw))
	return c, nil
}

func wrong(parameters map[string]string, name, allowed string, args ...any) error {
	return fmt.Errorf("%w: parameter %s: %q is not %s", volume.ErrInvalid, name, parameters[name], fmt.Sprintf(allowed, args...))
}

func teamOf(parameters map[string]string, namespace string) (string, error) {
	switch v := parameters[paramTeam]; {
	case v == "":
		return "", nil
	case v == teamOfNamespace && namespace == "":
		return "", wrong(parameters, paramTeam, "usable here: the request names no namespace; run external-provisioner with --extra-create-metadata")
	case v == teamOfNamespace:
		return namespace, nil
	case !teamPattern.MatchString(v):
		return "", wrong(parameters, paramTeam, "1 to 63 lower-case letters, digits and inner '-', or %s", teamOfNamespace)
	default:
		return v, nil
	}
}

// prefixParts are those of the class's prefix.
func (c class) prefixParts() []string {
	if c.context.Prefix == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(c.context.Prefix, "/"), "/")
}

// place is that of the volume that a request of this name makes. The error wraps volume.ErrInvalid.
func (c class) place(request string) (place, error) {
	store, err := storeOf(c.context.Endpoint)
	if err != nil {
		return place{}, fmt.Errorf("StorageClass: %w", err)
	}
	p := place{store: store, bucket: c.context.Bucket}
	name := volume.Name("", request, volume.NameLength)
	own := []string{name}
	if c.team != "" {
		own = []string{c.team, name}
	}
	if !c.bucketPerVolume {
		p.parts = append(c.prefixParts(), own...)
		return p, nil
	}
	p.bucket = strings.Join(append([]string{c.context.Bucket}, own...), "-")
	location := c.context.Location()
	if location.Bucket = p.bucket; location.Check() != nil {
		return place{}, fmt.Errorf("%w: parameter %s: the volume's bucket would be called %q, which no bucket can be; at most 63 characters are allowed, and %d of them are the volume's",
			volume.ErrInvalid, volumecontext.KeyBucket, p.bucket, len(name)+1)
	}
	return p, nil
}
