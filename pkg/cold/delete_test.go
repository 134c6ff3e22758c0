package cold_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/pkg/volume"
)

// TestDeleteStaysInside: everything below the prefix goes, uploads included, and not a key beside it.
func TestDeleteStaysInside(t *testing.T) {
	e := newEnv(t)
	v := e.create(e.spec("pvc-1", "prefix", "k8s"))
	e.create(e.spec("pvc-10", "prefix", "k8s"))
	e.create(e.spec("pvc-1", "prefix", "k8s2"))
	beside := []string{
		"k8s/pvc-1.txt", "k8s/pvc-10/data", "k8s/pvc-1-old/data", "k8s/pvc", "k8s2/pvc-1/data", "pvc-1/data", "other/k8s/pvc-1/data", "k8s/pvc-0/ünïcode",
		"k8s/PVC-1/data", "K8s/pvc-1/data",
	}
	e.put(beside...)
	want := e.keys()
	want = slices.DeleteFunc(want, func(k string) bool { return strings.HasPrefix(k, "k8s/pvc-1/") })
	inside := []string{"data", "a/b/c", "ünïcode/日本", "with space", "a+b", "..dots", ".strata/moves/1.json", "x/.strata/owner.json", "tab\tin", "k8s/pvc-1/data"}
	for _, k := range inside {
		e.put("k8s/pvc-1/" + k)
	}
	for _, k := range []string{"k8s/pvc-1/up", "k8s/pvc-10/up", "k8s/pvc-1-old/up"} {
		if _, err := e.bucket.CreateUpload(t.Context(), k, s3.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	e.delete(v.ID)
	e.same("what stays", e.keys(), want)
	uploads, err := e.bucket.Uploads(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, u := range uploads {
		keys = append(keys, u.Key)
	}
	slices.Sort(keys)
	e.same("the uploads that stay", keys, []string{"k8s/pvc-1-old/up", "k8s/pvc-10/up"})
	e.delete(v.ID)
	e.same("what stays after a repetition", e.keys(), want)
	if _, err := e.backend().Get(t.Context(), v.ID); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("Get after the deletion: %v", err)
	}
	e.create(e.spec("pvc-1", "prefix", "k8s")) // its name is free
}

// TestDeleteNeedsAMarker: an id that names no volume removes nothing, whatever there is.
func TestDeleteNeedsAMarker(t *testing.T) {
	e := newEnv(t)
	id := e.create(e.spec("pvc-1", "prefix", "a")).ID
	e.put("a/data", "b/c/data", ".strata/x", "top")
	want := e.keys()
	root := strings.TrimSuffix(string(id), ":a:pvc-1")
	for _, rest := range []string{"", ":a", ":b", ":b:c", ":.strata", ":a:.strata", ":a:pvc-1:.strata", ":a:pvc", ":none"} {
		if err := e.backend().Delete(t.Context(), volume.ID(root+rest)); err != nil {
			t.Errorf("%s: %v", rest, err)
		}
	}
	for _, odd := range []volume.ID{"cold:x", "cold:127.0.0.1_0_http:data:a", "cold:_http:data:a", "cold:a_b_c:data:a", "warm:a:b:c:d"} {
		if err := e.backend().Delete(t.Context(), odd); err != nil {
			t.Errorf("%s: %v", odd, err)
		}
	}
	e.same("what stays", e.keys(), want)
	// What can't be in an id can't be deleted either.
	for _, text := range []string{root + ":..", root + ":a:..", root + "::", root + ":a/b", root + ":ü"} {
		if _, err := volume.ParseID(text); err == nil {
			t.Errorf("%s is an id", text)
		}
	}
}

// TestDeleteDistrustsTheListing: a store that lists what it wasn't asked for doesn't make us remove it.
func TestDeleteDistrustsTheListing(t *testing.T) {
	e := newEnv(t)
	v := e.create(e.spec("pvc-1"))
	e.put("pvc-1/data", "pvc-2/data")
	want := e.keys()
	e.proxy.Add(s3test.Rule{Match: s3test.Match{Query: "list-type"}, Fault: s3test.Answer(200, `<ListBucketResult><IsTruncated>false</IsTruncated>`+
		`<Contents><Key>pvc-2/data</Key><Size>1</Size></Contents></ListBucketResult>`)})
	if err := e.backend().Delete(t.Context(), v.ID); !errors.Is(err, volume.ErrPrecondition) || !strings.Contains(err.Error(), "pvc-2/data") {
		t.Errorf("got %v", err)
	}
	e.same("what stays", e.keys(), want)
}

func TestRetain(t *testing.T) {
	e := newEnv(t)
	v := e.create(e.spec("pvc-1", "onDelete", "retain"))
	e.put("pvc-1/data")
	want := e.keys()
	e.delete(v.ID)
	e.delete(v.ID)
	e.same("what stays", e.keys(), want)
	if _, err := e.backend().Get(t.Context(), v.ID); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := e.backend().Create(t.Context(), e.spec("pvc-1", "onDelete", "retain")); !errors.Is(err, volume.ErrExists) || !strings.Contains(err.Error(), "retain") {
		t.Errorf("Create: %v", err)
	}
	if m, _, err := marker.Read(t.Context(), e.bucket, "pvc-1/"); err != nil || m.State != marker.Retained {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestDeleteIsTakenUp: more objects than a request takes, and a call that is cut off in the middle is taken up.
func TestDeleteIsTakenUp(t *testing.T) {
	e := newEnv(t)
	v := e.create(e.spec("pvc-1"))
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			for n := range 160 {
				e.put(fmt.Sprintf("pvc-1/%02d/%03d", i, n))
			}
		})
	}
	wait.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	rule := e.proxy.Add(s3test.Rule{Match: s3test.Match{Query: "delete"}, Skip: 1, Times: 1, Fault: s3test.Do(cancel)})
	if err := e.backend().Delete(ctx, v.ID); !errors.Is(err, context.Canceled) || rule.Hits() != 1 {
		t.Fatalf("cut off: %v after %d", err, rule.Hits())
	}
	if left := len(e.keys()); left < 2 || left >= 2561 {
		t.Errorf("%d objects are left", left)
	}
	if _, err := e.backend().Get(t.Context(), v.ID); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("Get in between: %v", err)
	}
	if _, err := e.backend().Create(t.Context(), e.spec("pvc-1")); !errors.Is(err, volume.ErrPending) {
		t.Errorf("Create in between: %v", err)
	}
	e.delete(v.ID)
	e.same("what stays", e.keys(), []string{})
}

// TestWritesWhileItIsDeleted: what comes while the volume is removed goes too.
func TestWritesWhileItIsDeleted(t *testing.T) {
	e := newEnv(t)
	v := e.create(e.spec("pvc-1"))
	e.put("pvc-1/a")
	e.proxy.Add(s3test.Rule{Match: s3test.Match{Query: "delete"}, Times: 1, Fault: s3test.Do(func() { e.put("pvc-1/0-late") })})
	e.delete(v.ID)
	e.same("what stays", e.keys(), []string{})
}

// TestStorms: a store that is overloaded makes calls slow, not wrong.
func TestStorms(t *testing.T) {
	e := newEnv(t)
	e.proxy.Add(s3test.Rule{Chance: 0.2, Fault: s3test.Status(503, "SlowDown")})
	e.proxy.Add(s3test.Rule{Chance: 0.1, Fault: s3test.LoseAnswer()})
	e.proxy.Add(s3test.Rule{Chance: 0.1, Fault: s3test.Reset()})
	// until goes on as the sidecars do: a call that fails is repeated.
	until := func(what string, call func() error) {
		t.Helper()
		for range 50 {
			err := call()
			if err == nil {
				return
			}
			if !errors.Is(err, volume.ErrUnavailable) && !errors.Is(err, volume.ErrPending) {
				t.Fatalf("%s: %v", what, err)
			}
		}
		t.Fatalf("%s never succeeds", what)
	}
	for i := range 10 {
		var v volume.Volume
		until("create", func() (err error) {
			v, err = e.backend().Create(t.Context(), e.spec(fmt.Sprintf("pvc-%d", i)))
			return err
		})
		for n := range 20 {
			e.put(fmt.Sprintf("pvc-%d/%d", i, n))
		}
		until("expand", func() error {
			_, _, err := e.backend().Expand(t.Context(), v.ID, volume.CapacityRange{Required: 2 << 30})
			return err
		})
		if m, _, err := marker.Read(t.Context(), e.bucket, fmt.Sprintf("pvc-%d/", i)); err != nil || m.Capacity != 2<<30 {
			t.Errorf("%+v, %v", m, err)
		}
		until("delete", func() error { return e.backend().Delete(t.Context(), v.ID) })
	}
	e.same("what stays", e.keys(), []string{})
}

func TestExpand(t *testing.T) {
	e := newEnv(t)
	v := e.create(e.spec("pvc-1"))
	for _, c := range []struct {
		want volume.CapacityRange
		size int64
		err  error
	}{
		{volume.CapacityRange{Required: 1 << 20}, 1 << 30, nil},
		{volume.CapacityRange{Required: 3 << 30}, 3 << 30, nil},
		{volume.CapacityRange{Required: 3 << 30}, 3 << 30, nil},
		{volume.CapacityRange{Required: 2 << 30, Limit: 4 << 30}, 3 << 30, nil},
		{volume.CapacityRange{Required: 1 << 30, Limit: 2 << 30}, 0, volume.ErrOutOfRange},
		{volume.CapacityRange{Required: 2, Limit: 1}, 0, volume.ErrOutOfRange},
	} {
		size, onNode, err := e.backend().Expand(t.Context(), v.ID, c.want)
		if size != c.size || onNode || !errors.Is(err, c.err) {
			t.Errorf("%+v: %d, %v, %v", c.want, size, onNode, err)
		}
	}
	if _, _, err := e.backend().Expand(t.Context(), v.ID+"0", volume.CapacityRange{Required: 1}); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("no volume: %v", err)
	}
	if _, _, err := e.tier.Expand(t.Context(), v.ID, volume.CapacityRange{Required: 1}); !errors.Is(err, volume.ErrInvalid) {
		t.Errorf("no secret: %v", err)
	}
}
