package s3

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
)

// No name of a bucket before that of a host can be looked up in a test, so this error is made by hand.
func TestTheNameOfTheBucketInThatOfTheHost(t *testing.T) {
	for host, want := range map[string]bool{"data.s3.example.com": true, "s3.example.com": false} {
		c := &call{endpoint: "https://s3.example.com:8443"}
		err := &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: host}}
		if got := c.wrap(t.Context(), err).Error(); strings.Contains(got, "pathStyle") != want {
			t.Errorf("%s: %s", host, got)
		}
	}
}
