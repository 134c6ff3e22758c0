package cold_test

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/cold"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// env is a store with one bucket, a proxy before it, and the tier that works through the proxy.
type env struct {
	*testing.T
	server *s3test.Server
	proxy  *s3test.FaultProxy
	bucket *s3.Bucket // without the proxy
	tier   *cold.Backend
}

func newEnv(t *testing.T) *env {
	t.Helper()
	server := s3test.Start(t)
	return &env{
		T: t, server: server, proxy: s3test.Proxy(t, server.Endpoint), bucket: server.Bucket(t),
		tier: cold.New(cold.Options{Client: s3.Options{Pause: time.Millisecond}}),
	}
}

func (e *env) secrets() map[string]string {
	return map[string]string{"accessKeyID": e.server.Credentials.AccessKeyID, "secretAccessKey": e.server.Credentials.SecretAccessKey}
}

// backend is the tier with its secrets.
func (e *env) backend() interface {
	tier.Provisioner
	tier.Expander
} {
	return e.tier.WithSecrets(e.secrets()).(*cold.Backend)
}

// spec asks for a volume in the bucket; more are further parameters, name and value in turn.
func (e *env) spec(name string, more ...string) volume.Spec {
	p := map[string]string{"tier": "cold", "endpoint": e.proxy.Endpoint, "bucket": e.bucket.Location().Bucket}
	for i := 0; i < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	return volume.Spec{Name: name, Parameters: p, Capacity: volume.CapacityRange{Required: 1 << 30}, Owner: volume.Owner{PV: name, PVC: "claim", Namespace: "red"}}
}

func (e *env) create(spec volume.Spec) volume.Volume {
	e.Helper()
	v, err := e.backend().Create(e.Context(), spec)
	if err != nil {
		e.Fatal(err)
	}
	return v
}

func (e *env) delete(id volume.ID) {
	e.Helper()
	if err := e.backend().Delete(e.Context(), id); err != nil {
		e.Fatal(err)
	}
}

func (e *env) put(keys ...string) {
	e.Helper()
	for _, k := range keys {
		if _, err := e.bucket.Put(e.Context(), k, strings.NewReader(k), int64(len(k)), s3.WriteOptions{}); err != nil {
			e.Fatal(err)
		}
	}
}

// keys are all of the bucket, sorted.
func (e *env) keys() []string {
	e.Helper()
	all := []string{}
	r := s3.ListRequest{}
	for {
		page, err := e.bucket.List(e.Context(), r)
		if err != nil {
			e.Fatal(err)
		}
		for _, o := range page.Objects {
			all = append(all, o.Key)
		}
		if page.Next == "" {
			slices.Sort(all)
			return all
		}
		r.Token = page.Next
	}
}

func (e *env) same(what string, got, want any) {
	e.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		e.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func (e *env) read(key string) string {
	e.Helper()
	o, err := e.bucket.Head(e.Context(), key)
	if err != nil {
		e.Fatal(err)
	}
	body, err := e.bucket.Get(e.Context(), key, o.ETag, 0, o.Size)
	if err != nil {
		e.Fatal(err)
	}
	defer body.Close()
	raw, err := io.ReadAll(body)
	if err != nil {
		e.Fatal(err)
	}
	return string(raw)
}

func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	m[key] = value
	return m
}
