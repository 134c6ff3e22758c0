package cold_test

// A store, and an STS, whose certificates are of the site's own authority.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/cold"
	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// tlsEnv is an env whose secret may have a bundle, and whose volumes are made over TLS.
type tlsEnv struct {
	*env
	authority *s3test.Authority
	front     *s3test.TLSProxy
}

func newTLSEnv(t *testing.T) *tlsEnv {
	e := &tlsEnv{env: newEnv(t), authority: s3test.NewAuthority(t)}
	e.front = e.authority.Proxy(t, e.server.Endpoint, s3test.Front{})
	return e
}

// with is the tier with a secret that has this bundle.
func (e *tlsEnv) with(bundle []byte) interface {
	tier.Provisioner
	tier.Expander
} {
	all := e.secrets()
	all[secret.KeyCABundle] = string(bundle)
	return e.tier.WithSecrets(all).(*cold.Backend)
}

func (e *tlsEnv) spec(more ...string) volume.Spec {
	return e.env.spec("pvc-1", append([]string{"endpoint", e.front.Endpoint}, more...)...)
}

func TestVolumesOverTLS(t *testing.T) {
	e := newTLSEnv(t)
	for name, more := range map[string][]string{
		"as the secret says":           nil,
		"as the class says as well":    {"caBundle", string(e.authority.PEM)},
		"with a bucket for the volume": {"bucketPerVolume", "true", "bucket", "own"},
	} {
		t.Run(name, func(t *testing.T) {
			before, b := e.front.Count(s3test.Match{}), e.with(e.authority.PEM)
			v, err := b.Create(t.Context(), e.spec(more...))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(v.ID), "cold:"+strings.TrimPrefix(strings.Replace(e.front.Endpoint, ":", "_", 2), "https_//")+":") {
				t.Errorf("the id is %s", v.ID)
			}
			if size, _, err := b.Expand(t.Context(), v.ID, volume.CapacityRange{Required: 2 << 30}); err != nil || size != 2<<30 {
				t.Errorf("expand: %d, %v", size, err)
			}
			if err := b.Delete(t.Context(), v.ID); err != nil {
				t.Errorf("delete: %v", err)
			}
			if e.front.Count(s3test.Match{}) == before {
				t.Error("nothing went over TLS")
			}
		})
	}
	e.same("left in the bucket", e.keys(), []string{})
}

// TestAnUntrustedStore: the wrong bundle is the user's to set right, and the store can do nothing for it.
func TestAnUntrustedStore(t *testing.T) {
	e := newTLSEnv(t)
	v, err := e.with(e.authority.PEM).Create(t.Context(), e.spec())
	if err != nil {
		t.Fatal(err)
	}
	for name, bundle := range map[string][]byte{"without a bundle": nil, "with another authority": s3test.NewAuthority(t).PEM} {
		for what, do := range map[string]func() error{
			"create": func() error { _, err := e.with(bundle).Create(t.Context(), e.spec()); return err },
			"expand": func() error {
				_, _, err := e.with(bundle).Expand(t.Context(), v.ID, volume.CapacityRange{Required: 2 << 30})
				return err
			},
			"delete": func() error { return e.with(bundle).Delete(t.Context(), v.ID) },
		} {
			before := e.front.Handshakes()
			err := do()
			if !errors.Is(err, volume.ErrPrecondition) || errors.Is(err, volume.ErrUnavailable) || !strings.Contains(err.Error(), "caBundle must have") || !strings.Contains(err.Error(), e.front.Endpoint) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			if n := e.front.Handshakes() - before; n != 1 {
				t.Errorf("%s, %s: tried %d times", name, what, n)
			}
		}
	}
	e.same("the volume", e.keys(), []string{"pvc-1/" + marker.Key})
}

// keeper keeps the credentials of one volume.
type keeper struct{ fields map[string]string }

func (k *keeper) Keep(_ context.Context, _ string, _ volume.ID, fields map[string]string) error {
	k.fields = fields
	return nil
}

func (k *keeper) Drop(context.Context, string, volume.ID) error {
	k.fields = nil
	return nil
}

// sessionAnswer is the answer to AssumeRole (AWS STS API Reference).
const sessionAnswer = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId>` +
	`<SecretAccessKey>%s</SecretAccessKey><SessionToken>token</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`

// TestSessionsOverTLS: the bundle is for the endpoint of STS too. The store of the unit tests knows no sessions: the proxies
// answer those as a store does that has them; tests/sts has a real one.
func TestSessionsOverTLS(t *testing.T) {
	e := newTLSEnv(t)
	kept := &keeper{}
	e.tier = cold.New(cold.Options{Keeper: kept})
	own := func(r s3test.Request) bool { return r.Header.Get("X-Amz-Security-Token") != "" }
	beyond := func(r s3test.Request) bool { return own(r) && r.Query.Get("prefix") == "" }
	for _, m := range []s3test.Match{{Query: "uploads", If: own}, {Query: "list-type", If: beyond}} {
		e.front.Add(s3test.Rule{Match: m, Fault: s3test.Status(http.StatusForbidden, "AccessDenied")})
	}
	e.front.Add(s3test.Rule{Match: s3test.Match{Query: "list-type", If: own}, Fault: s3test.Answer(http.StatusOK, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")})
	answer := fmt.Sprintf(sessionAnswer, e.server.Credentials.AccessKeyID, e.server.Credentials.SecretAccessKey, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	sts := func(a *s3test.Authority) *s3test.TLSProxy {
		p := a.Proxy(t, e.server.Endpoint, s3test.Front{})
		p.Add(s3test.Rule{Match: s3test.Match{Method: "POST", If: own}, Fault: s3test.Status(http.StatusForbidden, "AccessDenied")})
		p.Add(s3test.Rule{Match: s3test.Match{Method: "POST"}, Fault: s3test.Answer(http.StatusOK, answer)})
		return p
	}
	spec := func(p *s3test.TLSProxy) volume.Spec {
		return e.spec("identity", "volume", "roleARN", "arn:aws:iam:::role/x", "stsEndpoint", p.Endpoint)
	}

	foreign := sts(s3test.NewAuthority(t))
	_, err := e.with(e.authority.PEM).Create(t.Context(), spec(foreign))
	if !errors.Is(err, volume.ErrPrecondition) || !errors.Is(err, s3.ErrUntrusted) || !strings.Contains(err.Error(), "that of "+foreign.Endpoint) {
		t.Errorf("with an STS of another authority: %v", err)
	}
	if n := foreign.Count(s3test.Match{}); n != 0 {
		t.Errorf("it was sent %d requests", n)
	}
	e.same("left in the bucket", e.keys(), []string{})

	good := sts(e.authority)
	v, err := e.with(e.authority.PEM).Create(t.Context(), spec(good))
	if err != nil {
		t.Fatal(err)
	}
	e.same("what a node is given", []string{kept.fields[secret.KeySessionToken], kept.fields[secret.KeyCABundle]}, []string{"token", string(e.authority.PEM)})
	if n := good.Count(s3test.Match{Method: "POST"}); n != 2 {
		t.Errorf("a session was asked for %d times, want 2: one for the volume, one by the volume's own, which is refused", n)
	}
	if e.front.Count(s3test.Match{If: own}) == 0 {
		t.Error("the session wasn't tried")
	}
	if err := e.with(e.authority.PEM).Delete(t.Context(), v.ID); err != nil || kept.fields != nil {
		t.Errorf("delete: %v, %d fields are kept", err, len(kept.fields))
	}
}
