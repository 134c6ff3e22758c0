package s3test

// A store that is spoken to over TLS: a proxy with a certificate before it, of an authority that the test makes.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Authority signs the certificates of proxies.
type Authority struct {
	// PEM is its certificate, as a CA bundle has it.
	PEM []byte

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes an authority that nobody trusts yet.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{}
	template := certificate("an authority of a test", time.Now().Add(time.Hour))
	template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	der, key := a.sign(t, template)
	var err error
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.key = key
	a.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// Front is how the certificate of a proxy is; the zero Front is a good one.
type Front struct {
	// Host is the name that it is for in the place of 127.0.0.1, where the proxy listens all the same.
	Host string
	// Expired: it was good until an hour ago.
	Expired bool
}

// TLSProxy is a FaultProxy whose Endpoint is https://127.0.0.1:PORT.
type TLSProxy struct {
	*FaultProxy
	handshakes atomic.Int64
}

// Handshakes is how many clients have begun to speak TLS so far, whatever they thought of the certificate.
func (p *TLSProxy) Handshakes() int { return int(p.handshakes.Load()) }

// Proxy starts a proxy before the store at target (http://HOST:PORT) that has a certificate of the authority. It ends with the test.
func (a *Authority) Proxy(t testing.TB, target string, f Front) *TLSProxy {
	t.Helper()
	end := time.Now().Add(time.Hour)
	if f.Expired {
		end = time.Now().Add(-time.Hour)
	}
	template := certificate("a store of a test", end)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if f.Host == "" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	} else {
		template.DNSNames = []string{f.Host}
	}
	der, key := a.sign(t, template)
	p := &TLSProxy{}
	p.FaultProxy = start(t, target, func(s *httptest.Server) {
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that clients break off, as tests want
		s.TLS = &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				p.handshakes.Add(1)
				return nil, nil
			},
		}
		s.StartTLS()
	})
	return p
}

// sign makes a key and its certificate, which an authority without one signs with the key itself.
func (a *Authority) sign(t testing.TB, template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer); err != nil {
		t.Fatal(err)
	}
	return der, key
}

func certificate(name string, end time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: end.Add(-24 * time.Hour), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
}
