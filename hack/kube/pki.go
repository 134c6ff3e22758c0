package main

// Certificates: one authority for everything, a key and a certificate for each part, and kubeconfigs with them.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

// certificateLife is far longer than a cluster for development lives.
const certificateLife = 365 * 24 * time.Hour

type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

// identity is who somebody is: a user (CN) in a group (O), as Kubernetes reads client certificates, or a server with names.
type identity struct {
	name, user, group string
	hosts             []string
}

// identities are everybody of the cluster. The nodes' users and groups are what the Node authorizer goes by.
func identities() []identity {
	all := []identity{
		{name: "admin", user: "strata-admin", group: "system:masters"},
		{name: "kube-apiserver", user: "kube-apiserver", hosts: []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1", machineAddress, apiService}},
		{name: "kube-apiserver-kubelet-client", user: "kube-apiserver-kubelet-client", group: "system:masters"},
		{name: "kube-controller-manager", user: "system:kube-controller-manager"},
		{name: "kube-scheduler", user: "system:kube-scheduler"},
		{name: "kube-proxy", user: "system:kube-proxy"},
	}
	for _, n := range nodes {
		all = append(all,
			identity{name: "kubelet-" + n.Name, user: "system:node:" + n.Name, group: "system:nodes"},
			identity{name: "kubelet-server-" + n.Name, user: "system:node:" + n.Name, hosts: []string{n.Name, n.Address}})
	}
	return all
}

// writePKI makes all keys, certificates and kubeconfigs. What is there stays: ca.crt is written last and tells that
// all of it is.
func writePKI(l Layout) error {
	if _, err := os.Stat(l.pki("ca.crt")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	if err := writeKey(l.pki("ca.key"), ca.key); err != nil {
		return err
	}
	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(l.pki("service-accounts.key"), tokens); err != nil {
		return err
	}
	for _, id := range identities() {
		key, cert, err := ca.issue(id)
		if err != nil {
			return err
		}
		if err := writeKey(l.pki(id.name+".key"), key); err != nil {
			return err
		}
		if err := writeFile(l.pki(id.name+".crt"), cert, 0o644); err != nil {
			return err
		}
		if len(id.hosts) > 0 {
			continue
		}
		keyPEM, err := encodeKey(key)
		if err != nil {
			return err
		}
		path := l.kubeconfig(id.name)
		if id.name == "admin" {
			path = l.Kubeconfig()
		}
		if err := writeFile(path, kubeconfig(l, id.name, ca.pem, cert, keyPEM), 0o600); err != nil {
			return err
		}
	}
	return writeFile(l.pki("ca.crt"), ca.pem, 0o644)
}

func newAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template := certificate("strata-kube", "")
	template.IsCA = true
	template.KeyUsage |= x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, err
	}
	return authority{key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

func (ca authority) issue(id identity) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := certificate(id.user, id.group)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, h := range id.hosts {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %w", id.name, err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func certificate(user, group string) *x509.Certificate {
	// A minute ago, for a clock that is put right meanwhile.
	c := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes([]byte(rand.Text())),
		Subject:               pkix.Name{CommonName: user},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(certificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if group != "" {
		c.Subject.Organization = []string{group}
	}
	return c
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	b, err := encodeKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, b, 0o600)
}

func kubeconfig(l Layout, name string, ca, cert, key []byte) []byte {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: strata
contexts:
- name: strata
  context: {cluster: strata, user: %[2]s}
clusters:
- name: strata
  cluster:
    server: %[1]s
    certificate-authority-data: %[3]s
users:
- name: %[2]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
`, l.apiURL(), name, b64(ca), b64(cert), b64(key))
}
