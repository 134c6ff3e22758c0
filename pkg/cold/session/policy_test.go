package session

import (
	"errors"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

// What the policies do is tested on a store (tests/sts); these are what is sent.
func TestPolicies(t *testing.T) {
	const (
		head  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::data"]`
		bound = `,"Condition":{"StringLike":{"s3:prefix":["k8s/pvc-1/*"]}}}`
		write = `,{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:DeleteObject","s3:AbortMultipartUpload","s3:ListMultipartUploadParts"],"Resource":["arn:aws:s3:::data/`
		deny  = `,{"Effect":"Deny","Action":["s3:PutObject","s3:DeleteObject"],"Resource":["arn:aws:s3:::data/`
	)
	for name, c := range map[string]struct {
		identity volumecontext.Identity
		prefix   string
		want     string
	}{
		"a prefix":            {volumecontext.IdentityVolume, "k8s/pvc-1/", head + bound + write + `k8s/pvc-1/*"]}` + deny + `k8s/pvc-1/.strata/owner.json"]}]}`},
		"a bucket":            {volumecontext.IdentityVolume, "", head + "}" + write + `*"]}` + deny + `.strata/owner.json"]}]}`},
		"a prefix to read":    {volumecontext.IdentityReader, "k8s/pvc-1/", head + bound + `,{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::data/k8s/pvc-1/*"]}]}`},
		"a bucket to read":    {volumecontext.IdentityReader, "", head + `},{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::data/*"]}]}`},
		"all with a star":     {volumecontext.IdentityVolume, "k8s/*/", ""},
		"a variable":          {volumecontext.IdentityVolume, "k8s/${aws:userid}/", ""},
		"one letter of any":   {volumecontext.IdentityVolume, "k8s/pvc-?/", ""},
		"what '+' stands for": {volumecontext.IdentityVolume, "k8s/a b/", ""},
	} {
		got, err := policyOf(volumecontext.Context{Bucket: "data", Prefix: c.prefix, Identity: c.identity})
		if got != c.want || (c.want == "") != errors.Is(err, volume.ErrInvalid) {
			t.Errorf("%s:\n got %s, %v\nwant %s", name, got, err, c.want)
		}
	}
}

func TestFieldsAreWhatANodeReads(t *testing.T) {
	class, err := secret.Parse(map[string]string{secret.KeyAccessKeyID: "class", secret.KeySecretAccessKey: "class's", secret.KeyRegion: "here", secret.KeyPathStyle: "false", secret.KeyCABundle: "PEM"})
	if err != nil {
		t.Fatal(err)
	}
	s := s3.Session{Credentials: s3.Credentials{AccessKeyID: "id", SecretAccessKey: "secret", SessionToken: "token"}}
	fields := Fields(Request{Class: class}, s)
	got, err := secret.Parse(fields)
	if err != nil || got.Credentials != s.Credentials || got.Region != "here" || got.PathStyle == nil || *got.PathStyle || got.CABundle != "PEM" {
		t.Errorf("%v, %v", got, err)
	}
	for key, value := range fields {
		if strings.Contains(value, "class") {
			t.Errorf("%s has something of the class's access key", key)
		}
	}
	if at := Expires(fields); !at.Equal(s.Expires) {
		t.Errorf("expires %s", at)
	}
	if at := Expires(map[string]string{secret.KeyExpires: "tomorrow"}); !at.IsZero() {
		t.Errorf("expires %s", at)
	}
}
