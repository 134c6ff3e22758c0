package renewal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/cold/session"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// world has what controllers share: a store with a clock, PersistentVolumes, Secrets.
type world struct {
	mu      sync.Mutex
	now     time.Time
	minted  int
	asked   int // how often a session was wanted
	fail    error
	owned   error // what the store says of the volume
	volumes []Volume
	bound   map[string]bool
	secrets map[string]map[string]string
	told    []events.Reason
}

func newWorld() *world {
	w := &world{now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), bound: map[string]bool{}, secrets: map[string]map[string]string{
		"class": {secret.KeyAccessKeyID: "class", secret.KeySecretAccessKey: "secret", secret.KeyRegion: "here"},
	}}
	w.add("pvc-1")
	return w
}

// add is what CreateVolume and external-provisioner leave.
func (w *world) add(name string) {
	w.volumes = append(w.volumes, Volume{Name: name, ID: volume.ID("cold:s3:data:" + name), Class: Reference{"strata", "class"}, Context: map[string]string{
		volumecontext.KeyEndpoint: "https://s3", volumecontext.KeyBucket: "data", volumecontext.KeyPrefix: name, volumecontext.KeyIdentity: "volume", volumecontext.KeyRoleARN: "arn:aws:iam:::role/x"}})
	w.bound[name] = true
	s, _ := w.mint(context.Background(), session.Request{Volume: name, Context: volumecontext.Context{CredentialsLifetime: time.Hour}}, s3.Options{})
	w.secrets[name] = session.Fields(session.Request{}, s)
	w.minted = 0
}

func (w *world) mint(_ context.Context, r session.Request, _ s3.Options) (s3.Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if w.fail != nil {
		return s3.Session{}, w.fail
	}
	w.minted++
	return s3.Session{Credentials: s3.Credentials{AccessKeyID: fmt.Sprintf("%s-%d", r.Volume, w.minted), SecretAccessKey: "s", SessionToken: "t"}, Expires: w.now.Add(r.Context.CredentialsLifetime)}, nil
}

func (w *world) Volumes(context.Context) ([]Volume, error) { return slices.Clone(w.volumes), nil }
func (w *world) Bound(_ context.Context, name string, _ volume.ID) (bool, error) {
	return w.bound[name], nil
}

func (w *world) Read(_ context.Context, r Reference) (map[string]string, error) {
	return w.Kept(context.Background(), r.Name, "")
}

func (w *world) Kept(_ context.Context, name string, _ volume.ID) (map[string]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f, ok := w.secrets[name]; ok {
		return maps.Clone(f), nil
	}
	return nil, volume.ErrNotFound
}

func (w *world) Replace(ctx context.Context, name string, id volume.ID, fields map[string]string) error {
	if _, err := w.Kept(ctx, name, id); err != nil {
		return err
	}
	return w.Keep(ctx, name, id, fields)
}

func (w *world) Keep(_ context.Context, name string, _ volume.ID, fields map[string]string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets[name] = maps.Clone(fields)
	return nil
}

func (w *world) Drop(_ context.Context, name string, _ volume.ID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.secrets, name)
	return nil
}

func (w *world) Claim(_ context.Context, _ string, reason events.Reason, _ string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, reason)
}
func (w *world) Pod(context.Context, tier.Pod, events.Reason, string) {}

// controller has a clock that is off by some time.
func (w *world) controller(off *time.Duration) *Renewer {
	return New(Options{Volumes: w, Secrets: w, Tell: w, Mint: w.mint, Now: func() time.Time { return w.now.Add(*off) },
		Owned: func(context.Context, session.Request, s3.Options) error { return w.owned }})
}

func look(t *testing.T, r *Renewer) {
	t.Helper()
	if err := r.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// left is how long the credentials that a node is given are good still, by the store's clock.
func (w *world) left(name string) time.Duration { return session.Expires(w.secrets[name]).Sub(w.now) }

func TestRenewalAtHalfOfTheLife(t *testing.T) {
	w := newWorld()
	r := w.controller(new(time.Duration))
	for range 29 {
		look(t, r)
		w.now = w.now.Add(time.Minute)
	}
	if w.minted != 0 {
		t.Fatalf("minted %d times in the first half", w.minted)
	}
	w.now = w.now.Add(time.Minute)
	look(t, r)
	look(t, r)
	if w.minted != 1 || w.left("pvc-1") != time.Hour || w.secrets["pvc-1"][secret.KeyRegion] != "here" {
		t.Errorf("minted %d times, %s left, %v", w.minted, w.left("pvc-1"), w.secrets["pvc-1"])
	}
	if err := testutil.CollectAndCompare(r, strings.NewReader(`# HELP strata_cold_credentials_first_end_timestamp_seconds Unix time at which the first credentials of a volume of tier cold end, by what this controller knows; 0: there are none.
# TYPE strata_cold_credentials_first_end_timestamp_seconds gauge
strata_cold_credentials_first_end_timestamp_seconds 1.8934614e+09
`), "strata_cold_credentials_first_end_timestamp_seconds"); err != nil {
		t.Error(err)
	}
}

func TestRenewalWithWrongClocks(t *testing.T) {
	for name, c := range map[string]struct {
		begin, jump time.Duration
		most        int // renewals in five hours; nine or ten are needed
	}{
		"right":                     {0, 0, 10},
		"an hour behind":            {-time.Hour, 0, 11},
		"five minutes behind":       {-5 * time.Minute, 0, 11},
		"ten minutes ahead":         {10 * time.Minute, 0, 11},
		"set back by an hour":       {0, -time.Hour, 11},
		"set back by 29 minutes":    {0, -29 * time.Minute, 11},
		"set forward by 20 minutes": {0, 20 * time.Minute, 12},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			off := c.begin
			steady := w.now // time.Now has a monotonic clock, which a fake hasn't: the jump shifts what was seen before with it
			r := w.controller(&off)
			for at := 0; at < 300; at += 2 {
				look(t, r)
				if w.left("pvc-1") < 20*time.Minute {
					t.Fatalf("after %s only %s are left", w.now.Sub(steady), w.left("pvc-1"))
				}
				if at == 40 && c.jump != 0 {
					off += c.jump
					for name, k := range r.known {
						k.since = k.since.Add(c.jump)
						r.known[name] = k
					}
				}
				w.now = w.now.Add(2 * time.Minute)
			}
			if w.minted > c.most {
				t.Errorf("minted %d times", w.minted)
			}
		})
	}
}

func TestRenewalByTwoControllersAndAfterARestart(t *testing.T) {
	w := newWorld()
	w.add("pvc-2")
	a, b := w.controller(new(time.Duration)), w.controller(new(time.Duration))
	for at := 0; at < 300; at += 2 {
		var both sync.WaitGroup
		both.Go(func() { look(t, a) })
		both.Go(func() { look(t, b) })
		both.Wait()
		if at%60 == 58 {
			b = w.controller(new(time.Duration)) // knows nothing
		}
		for _, name := range []string{"pvc-1", "pvc-2"} {
			if w.left(name) < 20*time.Minute {
				t.Fatalf("%s: %s left", name, w.left(name))
			}
		}
		w.now = w.now.Add(2 * time.Minute)
	}
	if w.minted > 2*2*11 {
		t.Errorf("minted %d times", w.minted)
	}
	if len(w.told) > 0 {
		t.Errorf("told %v", w.told)
	}
}

func TestFailedRenewalIsToldAndTriedAgain(t *testing.T) {
	w := newWorld()
	r := w.controller(new(time.Duration))
	w.now = w.now.Add(31 * time.Minute)
	w.fail = errors.New("the store is away")
	look(t, r)
	look(t, r)
	if !slices.Equal(w.told, []events.Reason{events.VolumeCredentialsNotRenewed}) {
		t.Errorf("told %v", w.told)
	}
	if err := testutil.CollectAndCompare(r, strings.NewReader(`# HELP strata_cold_credentials_failing Volumes of tier cold whose credentials this controller couldn't renew at its last look.
# TYPE strata_cold_credentials_failing gauge
strata_cold_credentials_failing 1
`), "strata_cold_credentials_failing"); err != nil {
		t.Error(err)
	}
	w.fail = nil
	look(t, r)
	if w.minted != 1 || w.told[len(w.told)-1] != events.VolumeCredentialsRenewed {
		t.Errorf("minted %d times, told %v", w.minted, w.told)
	}
	delete(w.secrets, "class")
	w.now = w.now.Add(31 * time.Minute)
	look(t, r)
	if len(w.told) != 3 {
		t.Errorf("told %v", w.told)
	}
	w.volumes = nil
	look(t, r)
	if len(r.failing)+len(r.known) != 0 {
		t.Error("what is gone is remembered")
	}
}

func TestASecretThatIsGone(t *testing.T) {
	w := newWorld()
	r := w.controller(new(time.Duration))
	look(t, r)
	delete(w.secrets, "pvc-1")
	w.bound["pvc-1"] = false // DeleteVolume has removed it
	look(t, r)
	if _, ok := w.secrets["pvc-1"]; ok || w.asked > 1 || len(w.told) > 0 {
		t.Errorf("the secret of a volume that is being deleted is made again; told %v", w.told)
	}
	w.now = w.now.Add(time.Minute)
	w.bound["pvc-1"] = true // somebody has removed it by mistake
	look(t, r)
	if w.left("pvc-1") != time.Hour {
		t.Errorf("%s left", w.left("pvc-1"))
	}
	// An older one comes back, from a backup.
	w.secrets["pvc-1"][secret.KeyExpires] = w.now.Add(20 * time.Minute).Format(time.RFC3339)
	look(t, r)
	if w.left("pvc-1") != time.Hour {
		t.Errorf("%s left", w.left("pvc-1"))
	}
}

// A volume that fails and is then deleted fails no more.
func TestAVolumeThatIsDeletedDoesNotFail(t *testing.T) {
	w := newWorld()
	r := w.controller(new(time.Duration))
	w.now, w.owned = w.now.Add(31*time.Minute), volume.ErrPrecondition
	look(t, r)
	if len(r.failing) != 1 || w.asked > 1 {
		t.Fatalf("%d fail, asked %d times", len(r.failing), w.asked)
	}
	delete(w.secrets, "pvc-1")
	w.bound["pvc-1"] = false
	look(t, r)
	if len(r.failing) != 0 {
		t.Error("it fails still")
	}
}

// A store that doesn't answer is asked for a few volumes, and the others' are told that.
func TestASilentStoreIsAskedForFewVolumes(t *testing.T) {
	w := newWorld()
	for i := range 20 {
		w.add(fmt.Sprint("pvc-other-", i))
	}
	r := w.controller(new(time.Duration))
	w.now, w.fail, w.asked = w.now.Add(31*time.Minute), s3.ErrUnavailable, 0
	look(t, r)
	if w.asked > width || len(r.failing) != 21 || len(w.told) != 21 {
		t.Errorf("asked %d times, %d fail, %d are told", w.asked, len(r.failing), len(w.told))
	}
	// A Secret with a wrong caBundle is the matter of its own volumes.
	w.fail, w.asked = s3.ErrUntrusted, 0
	look(t, r)
	if w.asked != 21 {
		t.Errorf("a store whose certificate one doesn't trust is asked %d times", w.asked)
	}
}

// What a PersistentVolume says is held against the marker that the controller wrote.
func TestWhoseAVolumeIs(t *testing.T) {
	server := s3test.Start(t)
	bucket := server.Bucket(t)
	mine := marker.Marker{Name: "pvc-1", Owner: volume.Owner{PV: "pvc-1"}, Identity: volumecontext.IdentityVolume}
	reader, going := mine, mine
	reader.Identity, going.State = volumecontext.IdentityReader, marker.Deleting
	for prefix, m := range map[string]marker.Marker{"mine/": mine, "reader/": reader, "going/": going} {
		if _, err := marker.Write(t.Context(), bucket, prefix, m, s3.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		pv, prefix string
		want       error
	}{
		"its own":                    {"pvc-1", "mine/", nil},
		"another's":                  {"pvc-2", "mine/", volume.ErrPrecondition},
		"one that may only be read":  {"pvc-1", "reader/", volume.ErrPrecondition},
		"one that is being deleted":  {"pvc-1", "going/", errGone},
		"a prefix without a volume":  {"pvc-1", "other/", volume.ErrPrecondition},
		"the bucket around them all": {"pvc-1", "", volume.ErrPrecondition},
	} {
		l := bucket.Location()
		r := session.Request{Volume: c.pv, Context: volumecontext.Context{Endpoint: l.Endpoint, Bucket: l.Bucket, Prefix: c.prefix, PathStyle: true, Identity: volumecontext.IdentityVolume}}
		r.Class.Credentials = server.Credentials
		if err := owned(t.Context(), r, s3.Options{}); !errors.Is(err, c.want) || err != nil && c.want == nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
