package cold_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/strata-csi/strata/pkg/cold"
	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestCreate(t *testing.T) {
	e := newEnv(t)
	v := e.create(e.spec("pvc-1", "prefix", "k8s/main", "team", "${pvc.namespace}", "cacheSize", "10Gi", "enforceQuota", "true"))
	p := strings.TrimPrefix(e.proxy.Endpoint, "http://127.0.0.1:")
	bucket := e.bucket.Location().Bucket
	e.same("the id", v.ID, "cold:127.0.0.1_"+p+"_http:"+bucket+":k8s:main:red:pvc-1")
	c, err := volumecontext.Parse(v.ID, v.Context)
	if err != nil || c.Endpoint != e.proxy.Endpoint || c.Bucket != bucket || c.Prefix != "k8s/main/red/pvc-1/" || c.CacheSize != 10<<30 || !c.EnforceQuota || c.Capacity != 1<<30 || v.Capacity != 1<<30 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, secret := range e.secrets() {
		for key, value := range v.Context {
			if strings.Contains(value, secret) {
				t.Errorf("the context has a secret in %s", key)
			}
		}
	}
	e.same("the objects", e.keys(), []string{"k8s/main/red/pvc-1/" + marker.Key})
	m, _, err := marker.Read(t.Context(), e.bucket, c.Prefix)
	if err != nil || m.Name != "pvc-1" || m.PVC != "claim" || m.Namespace != "red" || m.Capacity != 1<<30 || m.Created.IsZero() || m.OnDelete != "delete" {
		t.Errorf("%+v, %v", m, err)
	}
	before := e.read(c.Prefix + marker.Key)
	again := e.create(e.spec("pvc-1", "prefix", "k8s/main", "team", "red", "cacheSize", "10737418240", "enforceQuota", "true", "fileMode", "0666"))
	e.same("a repetition in other words", again, v)
	e.same("its marker", e.read(c.Prefix+marker.Key), before)
	got, err := e.backend().Get(t.Context(), v.ID)
	if err != nil || got.ID != v.ID || got.Capacity != v.Capacity {
		t.Errorf("Get: %+v, %v", got, err)
	}
}

func TestCreateConflicts(t *testing.T) {
	e := newEnv(t)
	e.create(e.spec("pvc-1", "prefix", "k8s"))
	for _, c := range []struct {
		name string
		spec func(s *volume.Spec)
		want error
	}{
		{"other parameters", func(s *volume.Spec) { s.Parameters["uid"] = "5" }, volume.ErrExists},
		{"another end", func(s *volume.Spec) { s.Parameters["onDelete"] = "retain" }, volume.ErrExists},
		{"more room", func(s *volume.Spec) { s.Capacity.Required = 2 << 30 }, volume.ErrExists},
		{"less room", func(s *volume.Spec) { s.Capacity = volume.CapacityRange{Limit: 1 << 20} }, volume.ErrExists},
		{"any room", func(s *volume.Spec) { s.Capacity = volume.CapacityRange{} }, nil},
		{"another owner", func(s *volume.Spec) { s.Owner = volume.Owner{} }, nil}, // who asks again may know less
	} {
		s := e.spec("pvc-1", "prefix", "k8s")
		c.spec(&s)
		if _, err := e.backend().Create(t.Context(), s); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	// Another request of the same place: a marker with another name.
	if _, err := marker.Write(t.Context(), e.bucket, "other/", marker.Marker{Name: "somebody"}, s3.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.backend().Create(t.Context(), e.spec("other")); !errors.Is(err, volume.ErrExists) || !strings.Contains(err.Error(), "somebody") {
		t.Errorf("another's place: %v", err)
	}
	e.put("full/data")
	if _, err := e.backend().Create(t.Context(), e.spec("full")); !errors.Is(err, volume.ErrExists) || !strings.Contains(err.Error(), "full/data") {
		t.Errorf("a place with objects: %v", err)
	}
	if _, err := e.backend().Create(t.Context(), e.spec("pvc-2", "prefix", "k8s/pvc-1")); !errors.Is(err, volume.ErrPrecondition) || !strings.Contains(err.Error(), "inside another volume") {
		t.Errorf("a volume in a volume: %v", err)
	}
	e.create(e.spec("pvc-10", "prefix", "k8s")) // not inside pvc-1
}

// TestConcurrentCreates: identical requests at once make one volume, and each of them gets it.
func TestConcurrentCreates(t *testing.T) {
	e := newEnv(t)
	got := make([]volume.Volume, 10)
	var wait sync.WaitGroup
	for i := range got {
		wait.Go(func() {
			var err error
			if got[i], err = e.backend().Create(t.Context(), e.spec("pvc-1")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for _, v := range got {
		e.same("a volume", v, got[0])
	}
	e.same("the objects", e.keys(), []string{"pvc-1/" + marker.Key})
	markers := 0
	for _, r := range e.proxy.Requests(s3test.Match{Method: "PUT", Key: "pvc-1/" + marker.Key}) {
		if r.Header.Get("If-None-Match") != "*" {
			t.Error("a marker without a condition")
		}
		markers++
	}
	if markers == 0 {
		t.Error("no marker was written")
	}
	// Different ones at once: one of them wins.
	var won, lost int
	var mu sync.Mutex
	for i := range 10 {
		wait.Go(func() {
			s := e.spec("pvc-2")
			s.Capacity.Required += int64(i)
			_, err := e.backend().Create(t.Context(), s)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.Is(err, volume.ErrExists):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if won == 0 || won+lost != 10 {
		t.Errorf("%d won, %d lost", won, lost)
	}
	m, _, err := marker.Read(t.Context(), e.bucket, "pvc-2/")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 { // those that lost get nothing but the winner's
		s := e.spec("pvc-2")
		s.Capacity = volume.CapacityRange{Required: 1<<30 + int64(i), Limit: 1<<30 + int64(i)}
		if v, err := e.backend().Create(t.Context(), s); err == nil && v.Capacity != m.Capacity || err != nil && s.Capacity.Required == m.Capacity {
			t.Errorf("%d bytes: %+v, %v", s.Capacity.Required, v, err)
		}
	}
}

// TestPreflight: what is wrong with a store is said in plain words.
func TestPreflight(t *testing.T) {
	e := newEnv(t)
	refused := func(what string, secrets map[string]string, spec volume.Spec, want error, words ...string) {
		t.Helper()
		_, err := e.tier.WithSecrets(secrets).Create(t.Context(), spec)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
			return
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v lacks %q", what, err, w)
			}
		}
		for _, s := range secrets {
			if len(s) > 5 && strings.Contains(err.Error(), s) {
				t.Errorf("%s: the error tells a secret", what)
			}
		}
	}
	good := e.secrets()
	refused("no bucket", good, e.spec("a", "bucket", "missing"), volume.ErrPrecondition, "create-bucket --bucket missing", e.proxy.Endpoint)
	refused("no secret", nil, e.spec("a"), volume.ErrInvalid, "provisioner-secret-name")
	refused("an unknown key", with(good, "accessKeyID", "UNKNOWNKEY"), e.spec("a"), volume.ErrDenied, "access key")
	refused("a wrong key", with(good, "secretAccessKey", "wrong-secret"), e.spec("a"), volume.ErrDenied, "access key")
	refused("nobody there", good, e.spec("a", "endpoint", "http://127.0.0.1:1"), volume.ErrUnavailable, "connection refused", "right endpoint")
	refused("another region than the secret's", good, e.spec("a", "region", "eu-west-1"), volume.ErrInvalid, "the secret must have region eu-west-1")
	refused("another region than the secret's", with(good, "region", "eu-west-2"), e.spec("a", "region", "eu-west-1"), volume.ErrInvalid, "region eu-west-1")
	refused("another style than the secret's", good, e.spec("a", "pathStyle", "false"), volume.ErrInvalid, "pathStyle false")
	refused("a name that doesn't fit", good, e.spec("a", "prefix", strings.Repeat("x", 100)), volume.ErrInvalid, "at most 128")
	for header, name := range map[string]string{"If-None-Match": "b", "If-Match": "c"} {
		e.proxy.Clear()
		e.proxy.Add(s3test.Rule{Match: s3test.Match{Method: "PUT"}, Fault: s3test.Ignore(header)})
		refused("a store that ignores "+header, good, e.spec(name), volume.ErrPrecondition, header, "doesn't keep")
	}
	e.same("what is left", e.keys(), []string{})
	e.proxy.Clear()
	v := e.create(e.spec("a"))
	e.proxy.Forget()
	e.create(e.spec("d"))
	if n := len(e.proxy.Requests(s3test.Match{})); n > 5 {
		t.Errorf("a volume of a known store took %d requests", n)
	}
	e.delete(v.ID)
}

func TestParameters(t *testing.T) {
	e := newEnv(t)
	good := e.spec("a").Parameters
	if err := e.tier.CheckParameters(good); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ key, value, want string }{
		{"Bucket", "x", `did you mean "bucket"`},
		{"capacity", "1", "no parameter"},
		{"endpoint", "", "endpoint is missing"},
		{"endpoint", "http://[::1]:9000", "DNS name"},
		{"endpoint", "http://a_b:9000", "DNS name"},
		{"bucket", "", "bucket is missing"},
		{"prefix", "ünï", "prefix"},
		{"prefix", "a/../b", "prefix"},
		{"prefix", "a/.strata", "prefix"},
		{"prefix", "-a", "prefix"},
		{"team", "Red", "lower-case"},
		{"onDelete", "keep", "delete, retain"},
		{"bucketPerVolume", "yes", `"true" or "false"`},
		{"uid", "x", "uid: "},
	} {
		if err := e.tier.CheckParameters(with(good, c.key, c.value)); !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%q: got %v, want %q", c.key, c.value, err, c.want)
		}
	}
	if err := e.tier.CheckParameters(with(with(good, "bucketPerVolume", "true"), "prefix", "a")); !errors.Is(err, volume.ErrInvalid) {
		t.Errorf("a bucket of its own with a prefix: %v", err)
	}
	s := e.spec("a", "team", "${pvc.namespace}")
	s.Owner = volume.Owner{}
	if _, err := e.backend().Create(t.Context(), s); !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), "extra-create-metadata") {
		t.Errorf("a team without a namespace: %v", err)
	}
}

// TestCapacity: a class that Create would take has room, and one with a mistake says so before any pod waits for it.
func TestCapacity(t *testing.T) {
	e := newEnv(t)
	good := e.spec("a").Parameters
	for _, parameters := range []map[string]string{good, nil} {
		if c, err := e.tier.Capacity(t.Context(), parameters, nil); err != nil || c != (volume.Capacity{Available: cold.Unbounded}) {
			t.Errorf("%v: %+v, %v", parameters, c, err)
		}
	}
	if _, err := e.tier.Capacity(t.Context(), with(good, "bucket", ""), nil); !errors.Is(err, volume.ErrInvalid) {
		t.Errorf("without a bucket: %v", err)
	}
}

func TestBucketPerVolume(t *testing.T) {
	e := newEnv(t)
	v := e.create(e.spec("pvc-1", "bucketPerVolume", "true", "bucket", "mlx", "team", "red"))
	c, err := volumecontext.Parse(v.ID, v.Context)
	if err != nil || c.Bucket != "mlx-red-pvc-1" || c.Prefix != "" {
		t.Fatalf("%+v, %v", c, err)
	}
	e.same("a repetition", e.create(e.spec("pvc-1", "bucketPerVolume", "true", "bucket", "mlx", "team", "red")), v)
	own := e.server.Open(t, e.server.Endpoint, c.Bucket, s3.Options{})
	e.bucket = own
	e.put("a", "d/b")
	if _, err := own.CreateUpload(t.Context(), "up", s3.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	e.delete(v.ID)
	if err := own.Exists(t.Context()); !errors.Is(err, s3.ErrNoBucket) {
		t.Errorf("after the deletion: %v", err)
	}
	e.delete(v.ID)
	// A call that was interrupted before the bucket went is taken up, and so is one that had made only the bucket.
	if err := own.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.delete(v.ID)
	if err := own.Exists(t.Context()); !errors.Is(err, s3.ErrNoBucket) {
		t.Errorf("an empty bucket: %v", err)
	}
	if err := own.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.create(e.spec("pvc-1", "bucketPerVolume", "true", "bucket", "mlx", "team", "red"))
	e.delete(v.ID)
	// A bucket that is somebody's isn't taken, nor removed.
	if err := own.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.put("data")
	if _, err := e.backend().Create(t.Context(), e.spec("pvc-1", "bucketPerVolume", "true", "bucket", "mlx", "team", "red")); !errors.Is(err, volume.ErrExists) {
		t.Errorf("a bucket with objects: %v", err)
	}
	e.delete(v.ID)
	e.same("its objects", e.keys(), []string{"data"})
	if _, err := e.backend().Create(t.Context(), e.spec("pvc-1", "bucketPerVolume", "true", "bucket", strings.Repeat("b", 60))); !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), "63") {
		t.Errorf("a name that is too long: %v", err)
	}
}

// What the credentials may do, and that they are bound, is tested on a store with STS (tests/sts).
func TestOwnCredentialsNeedAPlaceToKeepThem(t *testing.T) {
	e := newEnv(t)
	spec := e.spec("pvc-1", "identity", "volume", "roleARN", "arn:aws:iam:::role/strata-volumes")
	if _, err := e.backend().Create(t.Context(), spec); !errors.Is(err, volume.ErrPrecondition) || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("without a Kubernetes API: %v", err)
	}
	e.tier = cold.New(cold.Options{Keeper: nowhere{}})
	spec.Owner.PV = ""
	if _, err := e.backend().Create(t.Context(), spec); !errors.Is(err, volume.ErrPrecondition) || !strings.Contains(err.Error(), "--extra-create-metadata") {
		t.Errorf("without the name of the PersistentVolume: %v", err)
	}
	spec.Owner.PV = "pvc-1"
	if _, err := e.backend().Create(t.Context(), spec); !errors.Is(err, volume.ErrPrecondition) && !errors.Is(err, volume.ErrDenied) {
		t.Errorf("with a store that has no STS: %v", err)
	}
	e.same("left in the bucket", e.keys(), []string{})
	spec.Parameters["identity"] = "volume-reader"
	if err := e.tier.CheckParameters(spec.Parameters); !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), "readOnly") {
		t.Errorf("an identity that isn't a class's: %v", err)
	}
}

// nowhere keeps nothing.
type nowhere struct{}

func (nowhere) Keep(context.Context, string, volume.ID, map[string]string) error { return nil }
func (nowhere) Drop(context.Context, string, volume.ID) error                    { return nil }
