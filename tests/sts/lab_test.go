package sts

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/cold"
	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/tests/harness"
)

// lab is a bucket of the gateway, and tier cold of a controller without a process around it.
type lab struct {
	testing.TB
	endpoint string
	role     string
	key      s3.Credentials // of the class
	bucket   *s3.Bucket
	kept     *keeper
	tier     *cold.Backend
}

func newLab(t testing.TB) *lab {
	t.Helper()
	ceph := harness.NewCeph(t)
	endpoint, key, err := harness.Gateway(ceph.Dir)
	must(t, err)
	role, err := harness.GatewayRole(ceph.Dir)
	must(t, err)
	l := &lab{TB: t, endpoint: endpoint, role: role, key: key, kept: &keeper{secrets: map[string]map[string]string{}}}
	l.bucket = l.open(key, fmt.Sprintf("sts-%d", time.Now().UnixNano()))
	must(t, l.bucket.Create(t.Context()))
	l.tier = cold.New(cold.Options{Keeper: l.kept})
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open is a client of a bucket with some credentials.
func (l *lab) open(key s3.Credentials, bucket string) *s3.Bucket {
	l.Helper()
	b, err := s3.Open(s3.Location{Endpoint: l.endpoint, PathStyle: true, Bucket: bucket}, func() s3.Credentials { return key }, s3.Options{})
	must(l, err)
	l.Cleanup(b.Close)
	return b
}

func (l *lab) backend() *cold.Backend {
	return l.tier.WithSecrets(map[string]string{secret.KeyAccessKeyID: l.key.AccessKeyID, secret.KeySecretAccessKey: l.key.SecretAccessKey}).(*cold.Backend)
}

// spec asks for a volume with credentials of its own; more are parameters, name and value by turns.
func (l *lab) spec(name string, more ...string) volume.Spec {
	p := map[string]string{"tier": "cold", "endpoint": l.endpoint, "bucket": l.bucket.Location().Bucket, "prefix": "k8s", "identity": "volume", "roleARN": l.role}
	for i := 0; i < len(more); i += 2 {
		if p[more[i]] = more[i+1]; more[i+1] == "" {
			delete(p, more[i])
		}
	}
	return volume.Spec{Name: name, Parameters: p, Owner: volume.Owner{PV: name, PVC: "claim", Namespace: "red"}}
}

// victim is a volume with a file in it, and what a node is given of it.
type victim struct {
	volume.Volume
	bucket, prefix string
	fields         map[string]string // of its Secret
}

const content = "nobody else's business"

func (l *lab) volume(spec volume.Spec) victim {
	l.Helper()
	v, err := l.backend().Create(l.Context(), spec)
	must(l, err)
	made := victim{Volume: v, bucket: v.Context["bucket"], prefix: v.Context["prefix"], fields: l.kept.of(spec.Owner.PV)}
	if made.fields == nil {
		l.Fatalf("volume %s has no secret", spec.Name)
	}
	_, err = l.open(l.key, made.bucket).Put(l.Context(), made.prefix+"file", strings.NewReader(content), int64(len(content)), s3.WriteOptions{})
	must(l, err)
	return made
}

func (v victim) key() s3.Credentials {
	return s3.Credentials{AccessKeyID: v.fields[secret.KeyAccessKeyID], SecretAccessKey: v.fields[secret.KeySecretAccessKey], SessionToken: v.fields[secret.KeySessionToken]}
}

// keeper stands for the Secrets of Kubernetes, which tests/e2e has real ones of.
type keeper struct {
	mu      sync.Mutex
	secrets map[string]map[string]string
}

func (k *keeper) Keep(_ context.Context, name string, _ volume.ID, fields map[string]string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.secrets[name] = maps.Clone(fields)
	return nil
}

func (k *keeper) Drop(_ context.Context, name string, _ volume.ID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.secrets, name)
	return nil
}

func (k *keeper) of(name string) map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.secrets[name])
}
