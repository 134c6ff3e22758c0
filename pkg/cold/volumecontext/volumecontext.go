// Package volumecontext is what the cold tier's controller writes into a volume's context and its node reads there: which prefix of which bucket, and how to show
// it. It holds no secret. An administrator writes one by hand for a bucket that is there already (a static PersistentVolume): then it, not the volume's id, says what is
// mounted.
package volumecontext

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/volume"
)

// The keys of a cold volume's context. All but KeyTier and KeyCapacity are parameters of a StorageClass too, with the same meaning; docs/parameters.md explains them.
const (
	KeyTier         = "tier" // "cold"
	KeyEndpoint     = "endpoint"
	KeyRegion       = "region"
	KeyBucket       = "bucket"
	KeyPrefix       = "prefix" // of the volume itself; absent: the whole bucket
	KeyPathStyle    = "pathStyle"
	KeyCABundle     = "caBundle"
	KeyStorageClass = "storageClass"
	KeySSE          = "sse"
	KeyReadOnly     = "readOnly"
	KeyImmutable    = "immutable"
	KeyCacheSize    = "cacheSize"
	KeyUID          = "uid"
	KeyGID          = "gid"
	KeyDirMode      = "dirMode"
	KeyFileMode     = "fileMode"
	KeyMetadataTTL  = "metadataTTL"
	KeyEnforceQuota = "enforceQuota"
	KeyCapacity     = "capacity" // bytes; absent: no limit is known

	// Of a volume with credentials of its own. A node takes no notice of them: the secret that it is given is theirs.
	KeyIdentity            = "identity"
	KeyRoleARN             = "roleARN"
	KeySTSEndpoint         = "stsEndpoint"
	KeyCredentialsLifetime = "credentialsLifetime"
)

// Identity says whose access key a node has.
type Identity string

// The identities. A StorageClass has one of the first two.
const (
	IdentityShared Identity = ""              // that of the class; in a class it is called "shared"
	IdentityVolume Identity = "volume"        // the volume's own
	IdentityReader Identity = "volume-reader" // the volume's own, which only reads
)

// sharedText is IdentityShared as people write it.
const sharedText = "shared"

// Keys are all of them.
var Keys = []string{KeyTier, KeyEndpoint, KeyRegion, KeyBucket, KeyPrefix, KeyPathStyle, KeyCABundle, KeyStorageClass, KeySSE, KeyReadOnly, KeyImmutable,
	KeyCacheSize, KeyUID, KeyGID, KeyDirMode, KeyFileMode, KeyMetadataTTL, KeyEnforceQuota, KeyCapacity, KeyIdentity, KeyRoleARN, KeySTSEndpoint, KeyCredentialsLifetime}

// The defaults.
const (
	DefaultDirMode     = 0o777 // only pods that have the volume see it
	DefaultFileMode    = 0o666
	DefaultMetadataTTL = time.Second

	DefaultCredentialsLifetime = time.Hour // the longest that a role allows which was made without saying so
)

// MaxMetadataTTL is the longest metadataTTL; what never changes is better called immutable.
const MaxMetadataTTL = time.Hour

// MinCacheSize is the least that makes sense: some blocks.
const MinCacheSize = 64 << 20

// maxPrefix leaves half of a key to the names in a volume.
const maxPrefix = s3.MaxKeyLength / 2

// Reserved is the name at the root of a volume that is Strata's own: its marker and what it notes of unfinished work.
const Reserved = ".strata"

// Context is a cold volume's context.
type Context struct {
	Endpoint  string
	Region    string // "": the secret's, or s3.DefaultRegion
	Bucket    string
	Prefix    string // "" (the whole bucket), or it ends with '/'
	PathStyle bool
	CABundle  string // PEM; "": the secret's, or the system's

	StorageClass, SSE string

	ReadOnly     bool
	Immutable    bool
	CacheSize    int64 // bytes that the volume may fill of the node's cache; 0: all of it
	UID, GID     uint32
	DirMode      uint32 // permission bits
	FileMode     uint32
	MetadataTTL  time.Duration
	EnforceQuota bool
	Capacity     int64 // bytes; 0: not known

	Identity            Identity
	RoleARN             string        // "" with IdentityShared
	STSEndpoint         string        // "": Endpoint
	CredentialsLifetime time.Duration // 0 with IdentityShared
}

// Location is where the bucket is.
func (c Context) Location() s3.Location {
	return s3.Location{Endpoint: c.Endpoint, Region: c.Region, PathStyle: c.PathStyle, CABundle: []byte(c.CABundle), Bucket: c.Bucket}
}

// STS is where sessions are asked for.
func (c Context) STS() s3.Location {
	l := c.Location()
	if c.STSEndpoint != "" {
		l.Endpoint = c.STSEndpoint
	}
	return l
}

// Map returns the context as the controller hands it out. Keys that have their default are left out.
func (c Context) Map() map[string]string {
	m := map[string]string{KeyTier: string(volume.Cold), KeyEndpoint: c.Endpoint, KeyBucket: c.Bucket}
	text := func(key, value string) {
		if value != "" {
			m[key] = value
		}
	}
	yes := func(key string, value bool) {
		if value {
			m[key] = "true"
		}
	}
	text(KeyRegion, c.Region)
	text(KeyPrefix, c.Prefix)
	if !c.PathStyle {
		m[KeyPathStyle] = "false"
	}
	text(KeyCABundle, c.CABundle)
	text(KeyStorageClass, c.StorageClass)
	text(KeySSE, c.SSE)
	yes(KeyReadOnly, c.ReadOnly)
	yes(KeyImmutable, c.Immutable)
	yes(KeyEnforceQuota, c.EnforceQuota)
	if c.CacheSize > 0 {
		m[KeyCacheSize] = strconv.FormatInt(c.CacheSize, 10)
	}
	if c.UID > 0 {
		m[KeyUID] = strconv.FormatUint(uint64(c.UID), 10)
	}
	if c.GID > 0 {
		m[KeyGID] = strconv.FormatUint(uint64(c.GID), 10)
	}
	if c.DirMode != DefaultDirMode {
		m[KeyDirMode] = fmt.Sprintf("%04o", c.DirMode)
	}
	if c.FileMode != DefaultFileMode {
		m[KeyFileMode] = fmt.Sprintf("%04o", c.FileMode)
	}
	if c.MetadataTTL != DefaultMetadataTTL {
		m[KeyMetadataTTL] = c.MetadataTTL.String()
	}
	if c.Capacity > 0 {
		m[KeyCapacity] = strconv.FormatInt(c.Capacity, 10)
	}
	text(KeyIdentity, string(c.Identity))
	text(KeyRoleARN, c.RoleARN)
	text(KeySTSEndpoint, c.STSEndpoint)
	if c.Identity != IdentityShared && c.CredentialsLifetime != DefaultCredentialsLifetime {
		m[KeyCredentialsLifetime] = c.CredentialsLifetime.String()
	}
	return m
}

// foreign are the beginnings of the keys that an orchestrator adds.
var foreign = []string{"csi.storage.k8s.io/", "storage.kubernetes.io/"}

// Parse reads the context of volume id, a parsed id. The error wraps volume.ErrInvalid and names the key.
func Parse(id volume.ID, m map[string]string) (Context, error) {
	if id.Tier() != volume.Cold {
		return Context{}, fmt.Errorf("%w: %q is no volume of tier %s", volume.ErrInvalid, id, volume.Cold)
	}
	own := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		switch {
		case slices.ContainsFunc(foreign, func(f string) bool { return strings.HasPrefix(key, f) }):
		case slices.Contains(Keys, key):
			own[key] = m[key]
		default:
			return Context{}, fmt.Errorf("%w: volume context of %s: it has no key %q%s; it has %s", volume.ErrInvalid, id, key, suggest.Hint(key, Keys), strings.Join(Keys, ", "))
		}
	}
	if t, ok := own[KeyTier]; ok && t != string(volume.Cold) {
		return Context{}, fmt.Errorf("%w: volume context of %s: %s %q: the id is of tier %s", volume.ErrInvalid, id, KeyTier, t, volume.Cold)
	}
	c, err := Read(own)
	if err != nil {
		return Context{}, fmt.Errorf("volume context of %s: %w", id, err)
	}
	return c, nil
}

// Read reads the values of known keys, with their defaults. It is what the parameters of a StorageClass are read with, too. The error wraps
// volume.ErrInvalid and says of which key.
func Read(m map[string]string) (Context, error) {
	p := parser{values: m}
	c := Context{
		Endpoint:     m[KeyEndpoint],
		Region:       p.word(KeyRegion, ""),
		Bucket:       m[KeyBucket],
		Prefix:       p.prefix(),
		PathStyle:    p.yes(KeyPathStyle, true),
		CABundle:     m[KeyCABundle],
		StorageClass: p.word(KeyStorageClass, ""),
		SSE:          p.word(KeySSE, ""),
		ReadOnly:     p.yes(KeyReadOnly, false),
		Immutable:    p.yes(KeyImmutable, false),
		CacheSize:    p.size(KeyCacheSize, MinCacheSize),
		UID:          p.id(KeyUID),
		GID:          p.id(KeyGID),
		DirMode:      p.mode(KeyDirMode, DefaultDirMode),
		FileMode:     p.mode(KeyFileMode, DefaultFileMode),
		MetadataTTL:  p.duration(KeyMetadataTTL, DefaultMetadataTTL, 0, MaxMetadataTTL),
		EnforceQuota: p.yes(KeyEnforceQuota, false),
		Capacity:     p.size(KeyCapacity, 1),
	}
	p.identity(&c)
	for _, key := range []string{KeyEndpoint, KeyBucket} {
		if m[key] == "" && p.err == nil {
			p.err = fmt.Errorf("%w: %s is missing", volume.ErrInvalid, key)
		}
	}
	if p.err == nil {
		if err := c.Location().Check(); err != nil {
			p.err = fmt.Errorf("%w: %s", volume.ErrInvalid, strings.TrimPrefix(err.Error(), s3.ErrInvalid.Error()+": "))
		}
	}
	return c, p.err
}

// CheckPrefix says whether p can begin the keys of a volume: "" or segments with '/' behind each. The error wraps volume.ErrInvalid.
func CheckPrefix(p string) error {
	if p == "" {
		return nil
	}
	wrong := func(why string) error { return fmt.Errorf("%w: %s", volume.ErrInvalid, why) }
	rest, ends := strings.CutSuffix(p, "/")
	switch {
	case !ends:
		return wrong("it must end with '/'")
	case len(p) > maxPrefix:
		return wrong(fmt.Sprintf("it has %d bytes, at most %d leave room for names", len(p), maxPrefix))
	case !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl):
		return wrong("it isn't UTF-8 text without control characters")
	}
	for s := range strings.SplitSeq(rest, "/") {
		if s == "" || s == "." || s == ".." || s == Reserved {
			return wrong(fmt.Sprintf("%q can't be a part of it", s))
		}
	}
	return nil
}
