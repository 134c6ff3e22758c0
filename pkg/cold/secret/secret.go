// Package secret reads what a Secret tells of an S3 store: the access key, and what a call that has no parameters needs besides. The controller gets it as the
// provisioner secret, the node as the node-stage secret.
package secret

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

// The keys of a Secret. Others are not looked at: a Secret may serve other programs too.
const (
	KeyAccessKeyID     = "accessKeyID"
	KeySecretAccessKey = "secretAccessKey"
	KeySessionToken    = "sessionToken" // of temporary credentials
	KeyRegion          = "region"
	KeyPathStyle       = "pathStyle" // true or false
	KeyCABundle        = "caBundle"  // PEM
	KeyExpires         = "expires"   // of temporary credentials that Strata minted: RFC 3339, for people and for their renewal
)

// Secret is a Secret's content. It is never printed: String and GoString hide it.
type Secret struct {
	Credentials s3.Credentials
	Region      string // "": not said
	PathStyle   *bool  // nil: not said
	CABundle    string // "": not said
}

// String hides the secret.
func (Secret) String() string { return "***" }

// GoString hides the secret.
func (Secret) GoString() string { return "***" }

// Parse reads a Secret's data. The error wraps volume.ErrInvalid, names what is missing, and never has a value in it.
func Parse(data map[string]string) (Secret, error) {
	if len(data) == 0 {
		return Secret{}, fmt.Errorf("%w: tier cold needs the access key of its store, and no secret came with the request: name one in the StorageClass with "+
			"csi.storage.k8s.io/provisioner-secret-name, .../controller-expand-secret-name and .../node-stage-secret-name (and their -namespace)", volume.ErrInvalid)
	}
	s := Secret{
		Credentials: s3.Credentials{
			AccessKeyID:     strings.TrimSpace(data[KeyAccessKeyID]), // a file that a Secret was made of ends with a newline
			SecretAccessKey: strings.TrimSpace(data[KeySecretAccessKey]),
			SessionToken:    strings.TrimSpace(data[KeySessionToken]),
		},
		Region:   strings.TrimSpace(data[KeyRegion]),
		CABundle: data[KeyCABundle],
	}
	for key, value := range map[string]string{KeyAccessKeyID: s.Credentials.AccessKeyID, KeySecretAccessKey: s.Credentials.SecretAccessKey} {
		if value == "" {
			return Secret{}, fmt.Errorf("%w: the secret has no %s; it must have %s and %s, and may have %s", volume.ErrInvalid, key,
				KeyAccessKeyID, KeySecretAccessKey, strings.Join([]string{KeySessionToken, KeyRegion, KeyPathStyle, KeyCABundle}, ", "))
		}
	}
	if v := strings.TrimSpace(data[KeyPathStyle]); v != "" {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return Secret{}, fmt.Errorf("%w: %s in the secret is neither true nor false", volume.ErrInvalid, KeyPathStyle)
		}
		s.PathStyle = &b
	}
	return s, nil
}

// Place is what a Secret has besides the credentials, by its keys.
func (s Secret) Place() map[string]string {
	m := map[string]string{}
	if s.Region != "" {
		m[KeyRegion] = s.Region
	}
	if s.PathStyle != nil {
		m[KeyPathStyle] = strconv.FormatBool(*s.PathStyle)
	}
	if s.CABundle != "" {
		m[KeyCABundle] = s.CABundle
	}
	return m
}

// Fill puts what only the secret says into a location.
func (s Secret) Fill(l s3.Location) s3.Location {
	if l.Region == "" {
		l.Region = s.Region
	}
	if len(l.CABundle) == 0 {
		l.CABundle = []byte(s.CABundle)
	}
	return l
}
