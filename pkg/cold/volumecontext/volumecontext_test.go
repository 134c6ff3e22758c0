package volumecontext

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-csi/strata/pkg/volume"
)

const id = volume.ID("cold:s3.example.com:data:team:pvc-1")

func least() map[string]string {
	return map[string]string{KeyEndpoint: "https://s3.example.com", KeyBucket: "data"}
}

func TestParseReadsWhatMapWrites(t *testing.T) {
	full := Context{
		Endpoint: "http://127.0.0.1:9000", Region: "eu-west-1", Bucket: "data", Prefix: "a/ünï code/", StorageClass: "STANDARD_IA", SSE: "aws:kms",
		ReadOnly: true, Immutable: true, CacheSize: 1 << 30, UID: 1000, GID: 2000, DirMode: 0o750, FileMode: 0o600, MetadataTTL: 0, EnforceQuota: true, Capacity: 5 << 40,
		Identity: IdentityReader, RoleARN: "arn:aws:iam:::role/strata-volumes", STSEndpoint: "https://sts.example.com", CredentialsLifetime: 20 * time.Minute,
	}
	for name, want := range map[string]Context{
		"all": full,
		"defaults": {Endpoint: "https://s3.example.com", Bucket: "data", PathStyle: true, DirMode: DefaultDirMode, FileMode: DefaultFileMode,
			MetadataTTL: DefaultMetadataTTL},
	} {
		m := want.Map()
		got, err := Parse(id, m)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, d)
		}
		if name == "defaults" && len(m) != 3 {
			t.Errorf("defaults are written: %v", m)
		}
	}
}

func TestParseReadsWhatPeopleWrite(t *testing.T) {
	m := least()
	maps.Copy(m, map[string]string{
		KeyPrefix: "datasets/imagenet", KeyCacheSize: "200Gi", KeyCapacity: "1Ti", KeyMetadataTTL: "10s", KeyDirMode: "755", KeyTier: "cold",
		"storage.kubernetes.io/csiProvisionerIdentity": "x", "csi.storage.k8s.io/pod.name": "y",
	})
	got, err := Parse("cold:any", m)
	if err != nil {
		t.Fatal(err)
	}
	if got.Prefix != "datasets/imagenet/" || got.CacheSize != 200<<30 || got.Capacity != 1<<40 || got.MetadataTTL != 10*time.Second || got.DirMode != 0o755 {
		t.Errorf("%+v", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{KeyEndpoint, "", "endpoint is missing"},
		{KeyEndpoint, "s3.example.com", "https://HOST"},
		{KeyEndpoint, "ftp://s3.example.com", "https://HOST"},
		{KeyEndpoint, "https://s3.example.com/data", "must be https://s3.example.com"},
		{KeyEndpoint, "https://user:pw@s3.example.com", "must be https://s3.example.com"},
		{KeyBucket, "", "bucket is missing"},
		{KeyBucket, "a/b", "no name of a bucket"},
		{KeyBucket, "..", "no name of a bucket"},
		{KeyPrefix, "/a", "can't be a part"},
		{KeyPrefix, "a//b", "can't be a part"},
		{KeyPrefix, "a/../b", "can't be a part"},
		{KeyPrefix, "./a", "can't be a part"},
		{KeyPrefix, "/", "can't be a part"},
		{KeyPrefix, "a/.strata/b", "can't be a part"},
		{KeyPrefix, "a\nb", "control characters"},
		{KeyPrefix, "a\xff", "UTF-8"},
		{KeyPrefix, strings.Repeat("x", 512), "513 bytes"},
		{KeyRegion, "eu west", "letters"},
		{KeyPathStyle, "yes", `"true" or "false"`},
		{KeyCABundle, "no PEM", "PEM"},
		{KeyStorageClass, "a b", "letters"},
		{KeySSE, "a;b", "letters"},
		{KeyReadOnly, "1", `"true" or "false"`},
		{KeyCacheSize, "10", "at least 67108864 bytes"},
		{KeyCacheSize, "-1Gi", "at least"},
		{KeyCacheSize, "9999999Pi", "at least"},
		{KeyUID, "-1", "number"},
		{KeyGID, "root", "number"},
		{KeyDirMode, "0999", "octal"},
		{KeyFileMode, "4755", "octal"},
		{KeyFileMode, "7", "octal"},
		{KeyMetadataTTL, "1", "time"},
		{KeyMetadataTTL, "-1s", "time"},
		{KeyMetadataTTL, "2h", "time"},
		{KeyCapacity, "0", "at least 1"},
		{KeyIdentity, "node", "one of shared, volume"},
		{KeyIdentity, "volume", `roleARN: "" is not the ARN`},
		{KeyRoleARN, "arn:aws:iam:::role/x", "of use without identity: volume"},
		{KeyCredentialsLifetime, "1h", "of use without identity: volume"},
		{KeyTier, "warm", "the id is of tier cold"},
		{"Prefix", "a", `did you mean "prefix"`},
		{"secretAccessKey", "a", "no key"},
	} {
		m := least()
		m[c.key] = c.value
		if _, err := Parse(id, m); !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%q: got %v, want %q", c.key, c.value, err, c.want)
		}
	}
	for _, c := range []struct{ key, value, want string }{
		{KeyRoleARN, "strata-volumes", "the ARN of a role"},
		{KeyRoleARN, "arn:aws:iam:::user/x", "the ARN of a role"},
		{KeyCredentialsLifetime, "1m", "from 15m0s to 12h0m0s"},
		{KeyCredentialsLifetime, "13h", "from 15m0s to 12h0m0s"},
		{KeySTSEndpoint, "https://sts.example.com/x", "an endpoint"},
	} {
		m := least()
		m[KeyIdentity], m[KeyRoleARN] = "volume", "arn:aws:iam:::role/strata-volumes"
		m[c.key] = c.value
		if _, err := Parse(id, m); !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%q: got %v, want %q", c.key, c.value, err, c.want)
		}
	}
	if _, err := Parse("warm:a:b:c:d", least()); !errors.Is(err, volume.ErrInvalid) {
		t.Errorf("another tier: %v", err)
	}
}
