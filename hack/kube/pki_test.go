package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// readCertificate reads a certificate and checks that its key is that of the file beside it.
func readCertificate(t *testing.T, l Layout, name string) *x509.Certificate {
	t.Helper()
	if _, err := tls.LoadX509KeyPair(l.pki(name+".crt"), l.pki(name+".key")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(l.pki(name + ".crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestPKI(t *testing.T) {
	l := Layout{Root: "/src", Dir: filepath.Join(t.TempDir(), "cluster")}
	if err := writePKI(l); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate in ca.crt")
	}
	for _, id := range identities() {
		cert := readCertificate(t, l, id.name)
		usage := x509.ExtKeyUsageClientAuth
		if len(id.hosts) > 0 {
			usage = x509.ExtKeyUsageServerAuth
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("%s: %v", id.name, err)
		}
		for _, h := range id.hosts {
			if err := cert.VerifyHostname(h); err != nil {
				t.Errorf("%s: %v", id.name, err)
			}
		}
		if info, err := os.Stat(l.pki(id.name + ".key")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s.key: %v, %v", id.name, info.Mode(), err)
		}
	}
	// What the Node authorizer goes by.
	node := readCertificate(t, l, "kubelet-node-a").Subject
	if node.CommonName != "system:node:node-a" || strings.Join(node.Organization, " ") != "system:nodes" {
		t.Errorf("the kubelet of node-a is %v", node)
	}
	config, err := clientcmd.LoadFromFile(l.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	rest, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	if rest.Host != "https://10.99.0.1:6443" || len(rest.CertData) == 0 || len(rest.KeyData) == 0 || len(rest.CAData) == 0 {
		t.Errorf("%s: %v", l.Kubeconfig(), rest)
	}
}

func TestKeysStayWhileTheClusterDoes(t *testing.T) {
	l := Layout{Root: "/src", Dir: filepath.Join(t.TempDir(), "cluster")}
	var first []byte
	for range 2 {
		if err := writePKI(l); err != nil {
			t.Fatal(err)
		}
		now, err := os.ReadFile(l.Kubeconfig())
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && string(first) != string(now) {
			t.Error("the second call made other keys")
		}
		first = now
	}
}
