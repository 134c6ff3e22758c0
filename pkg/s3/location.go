package s3

// Where a bucket is, and who asks.

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"regexp"
)

// Location says where a bucket is.
type Location struct {
	// Endpoint is http://HOST[:PORT] or https://HOST[:PORT], nothing behind it.
	Endpoint string
	// Region is what requests are signed for; empty: DefaultRegion, which every store but AWS itself takes.
	Region string
	// PathStyle: the bucket is named in the path, not in the host name.
	PathStyle bool
	// CABundle are certificates of authorities, in PEM; one of them must vouch for the endpoint's. Those of the system count where it is empty alone.
	CABundle []byte
	Bucket   string
}

// MaxCABundle is the most that a CABundle may have, in bytes: some ten certificates. It goes with every mount to the node's holder of mounts, whose messages have a limit
// (pkg/mountd), and would otherwise fail there alone.
const MaxCABundle = 16 << 10

// DefaultRegion is the region that a Location without one has.
const DefaultRegion = "us-east-1"

// bucketNames are those of Amazon S3 ("General purpose bucket naming rules"), and the older ones that other stores still have.
var bucketNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$`)

// Check says what of the location is wrong and what it may be, as an error that wraps ErrInvalid. It asks nobody.
func (l Location) Check() error {
	_, err := l.check()
	return err
}

func (l Location) check() (roots *x509.CertPool, err error) {
	u, err := url.Parse(l.Endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("%w: the endpoint is %q; it must be https://HOST[:PORT] or http://HOST[:PORT]", ErrInvalid, l.Endpoint)
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("%w: the endpoint has something besides scheme, host and port; it must be %s://%s", ErrInvalid, u.Scheme, u.Host)
	case !bucketNames.MatchString(l.Bucket):
		return nil, fmt.Errorf("%w: %q is no name of a bucket: 3 to 63 letters, digits, dots and hyphens, a letter or digit first and last", ErrInvalid, l.Bucket)
	}
	switch n := len(l.CABundle); {
	case n == 0:
		return nil, nil
	case n > MaxCABundle:
		return nil, fmt.Errorf("%w: the CA bundle has %d bytes; at most %d are allowed: give the certificates of the authorities alone that the endpoint's is signed by", ErrInvalid, n, MaxCABundle)
	}
	roots = x509.NewCertPool()
	if !roots.AppendCertsFromPEM(l.CABundle) {
		return nil, fmt.Errorf("%w: the CA bundle has no certificate; it must be certificates in PEM", ErrInvalid)
	}
	return roots, nil
}

// secure tells whether TLS guards what is sent.
func (l Location) secure() bool {
	u, err := url.Parse(l.Endpoint)
	return err == nil && u.Scheme == "https"
}

// Credentials are an access key. They are never printed: String and GoString hide them.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string // of temporary credentials; empty: none
}

// String hides the credentials.
func (Credentials) String() string { return "***" }

// GoString hides the credentials.
func (Credentials) GoString() string { return "***" }

// Provider gives the credentials that the next request is signed with. It is asked for every request and may answer otherwise each time, so that
// credentials change under an open Bucket.
type Provider func() Credentials
