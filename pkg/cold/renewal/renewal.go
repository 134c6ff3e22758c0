// Package renewal keeps the credentials fresh that volumes of the cold tier have of their own. It looks at the PersistentVolumes again and again and mints new ones for each whose
// Secret is half through its life.
//
// Every controller does so, and none needs the others: credentials that two of them mint for one volume are both good, and the Secret has one of them. Nothing is remembered that a restarted
// controller would miss.
package renewal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/cold/session"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	// lookEvery is how often volumes are looked for whose credentials are to be renewed, and those tried again whose renewal has failed. From half of the shortest life on there are three
	// looks until its end, and time for kubelet, which hands a Secret to a node about once in a minute.
	lookEvery = 2 * time.Minute
	// width is how many volumes are renewed at once.
	width = 4
	// patience is how long one volume's renewal may take, so that a store that doesn't answer keeps no other waiting for long.
	patience = 20 * time.Second
	// skew is how far the store's clock may be ahead of ours before an end that it names is doubted.
	skew = time.Minute
)

// Volume is a PersistentVolume whose credentials are its own.
type Volume struct {
	Name    string // of the PersistentVolume, and of its Secret
	ID      volume.ID
	Context map[string]string
	// Class is the Secret by which volumes of its class are made.
	Class Reference
}

// Reference names a Secret.
type Reference struct{ Namespace, Name string }

// Volumes knows the PersistentVolumes.
type Volumes interface {
	// Volumes are those whose volume attributes have the key volumecontext.KeyIdentity.
	Volumes(ctx context.Context) ([]Volume, error)
	// Bound tells whether a claim has the PersistentVolume now: it isn't being deleted.
	Bound(ctx context.Context, name string, id volume.ID) (bool, error)
}

// Secrets keeps credentials.
type Secrets interface {
	// Read returns the fields of a class's Secret.
	Read(ctx context.Context, r Reference) (map[string]string, error)
	// Kept returns the fields of a volume's Secret; volume.ErrNotFound.
	Kept(ctx context.Context, name string, id volume.ID) (map[string]string, error)
	// Replace replaces the fields of a volume's Secret; one that isn't there isn't made: volume.ErrNotFound.
	Replace(ctx context.Context, name string, id volume.ID, fields map[string]string) error
	// Keep makes it too.
	Keep(ctx context.Context, name string, id volume.ID, fields map[string]string) error
	// Drop removes it; one that isn't there is no error.
	Drop(ctx context.Context, name string, id volume.ID) error
}

// Options are those of a Renewer. All but Client, Now, Owned and Mint are required.
type Options struct {
	Volumes Volumes
	Secrets Secrets
	Tell    events.Recorder
	Client  s3.Options
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Owned tells whether a volume is what its PersistentVolume says; nil: owned, which asks the store.
	Owned func(ctx context.Context, r session.Request, o s3.Options) error
	// Mint is session.Mint, which it is when nil.
	Mint func(ctx context.Context, r session.Request, o s3.Options) (s3.Session, error)
}

// Renewer is a prometheus.Collector, too.
type Renewer struct {
	o Options

	mu      sync.Mutex
	known   map[string]known // by the name of the PersistentVolume
	failing map[string]bool
	renewed map[bool]int // by whether it was so
}

// known is what was last seen in a volume's Secret.
type known struct {
	expires  time.Time
	lifetime time.Duration
	since    time.Time // when it was seen first; it has the monotonic clock
	own      bool      // it was minted here
}

// due tells whether the credentials are to be renewed. Their end is by the store's clock and compared with ours, which may be wrong or be set: credentials that were minted here are renewed
// after half of their life by the monotonic clock, whatever the other says.
func (k known) due(now time.Time) bool {
	left, seen := k.expires.Sub(now), now.Sub(k.since)
	if k.own {
		return seen >= k.lifetime/2 || left <= k.lifetime/4
	}
	return seen >= k.lifetime/2 || left <= k.lifetime/2 || left > k.lifetime+skew
}

// New returns a Renewer.
func New(o Options) *Renewer {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Owned == nil {
		o.Owned = owned
	}
	if o.Mint == nil {
		o.Mint = session.Mint
	}
	return &Renewer{o: o, known: map[string]known{}, failing: map[string]bool{}, renewed: map[bool]int{}}
}

// Run looks until ctx ends.
func (r *Renewer) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := r.Look(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "The credentials of volumes of tier cold aren't renewed; it is tried again", "after", lookEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Look renews what is due, once. The error says that the volumes aren't known; of each volume that fails users are told.
func (r *Renewer) Look(ctx context.Context) error {
	volumes, err := r.o.Volumes.Volumes(ctx)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	r.firstToEnd(volumes)
	var silent silent
	var group errgroup.Group
	group.SetLimit(width)
	for _, v := range volumes {
		there[v.Name] = true
		group.Go(func() error {
			r.report(ctx, v, r.renew(ctx, v, &silent))
			return nil
		})
	}
	_ = group.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.known {
		if !there[name] {
			delete(r.known, name)
		}
	}
	for name := range r.failing {
		if !there[name] {
			delete(r.failing, name)
		}
	}
	return nil
}

// firstToEnd orders volumes by when the credentials end that they are known to have; what isn't known comes first.
func (r *Renewer) firstToEnd(volumes []Volume) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(volumes, func(a, b Volume) int { return r.known[a.Name].expires.Compare(r.known[b.Name].expires) })
}

// silent are the endpoints that didn't answer in a look, with how: the volumes that come after aren't tried there.
type silent struct{ endpoints sync.Map }

func (s *silent) asked(endpoint string, err error) {
	if errors.Is(err, s3.ErrUntrusted) { // by the Secret of one class, at once: another may have the right caBundle
		return
	}
	if errors.Is(err, s3.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		s.endpoints.Store(endpoint, err)
	}
}

func (s *silent) is(endpoint string) error {
	if err, ok := s.endpoints.Load(endpoint); ok {
		return fmt.Errorf("%s isn't asked, as it didn't answer for another volume just now: %w", endpoint, err.(error))
	}
	return nil
}

// errGone: the volume is being deleted.
var errGone = errors.New("no claim has it")

// renew renews the credentials of a volume if they are due.
func (r *Renewer) renew(ctx context.Context, v Volume, silent *silent) error {
	c, err := volumecontext.Parse(v.ID, v.Context)
	if err != nil || c.Identity == volumecontext.IdentityShared {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	fields, err := r.o.Secrets.Kept(ctx, v.Name, v.ID)
	missing := errors.Is(err, volume.ErrNotFound)
	switch {
	case missing: // by DeleteVolume, or by mistake
		if err := r.bound(ctx, v); err != nil {
			return err
		}
	case err != nil:
		return err
	case !r.note(v.Name, session.Expires(fields), c.CredentialsLifetime, false).due(r.o.Now()):
		return nil
	}
	request, err := r.request(ctx, v, c)
	if err != nil {
		return err
	}
	if err := errors.Join(silent.is(c.Endpoint), silent.is(c.STS().Endpoint)); err != nil {
		return err
	}
	if err := r.o.Owned(ctx, request, r.o.Client); err != nil {
		silent.asked(c.Endpoint, err)
		return err
	}
	s, err := r.o.Mint(ctx, request, r.o.Client)
	if err != nil {
		silent.asked(c.STS().Endpoint, err)
		return err
	}
	fresh := session.Fields(request, s)
	if missing {
		err = r.o.Secrets.Keep(ctx, v.Name, v.ID, fresh)
		if err == nil && errors.Is(r.bound(ctx, v), errGone) { // DeleteVolume may have come in between
			err = errors.Join(r.o.Secrets.Drop(ctx, v.Name, v.ID), errGone)
		}
	} else if err = r.o.Secrets.Replace(ctx, v.Name, v.ID, fresh); errors.Is(err, volume.ErrNotFound) {
		err = errGone // removed just now; if by mistake, the next look makes it
	}
	if err != nil {
		return err
	}
	r.note(v.Name, session.Expires(fresh), c.CredentialsLifetime, true)
	r.count(true)
	klog.FromContext(ctx).V(2).Info("A volume has new credentials", "volume", v.ID, "expires", s.Expires)
	return nil
}

// bound is nil when a claim has the volume, errGone when none has.
func (r *Renewer) bound(ctx context.Context, v Volume) error {
	bound, err := r.o.Volumes.Bound(ctx, v.Name, v.ID)
	if err == nil && !bound {
		err = errGone
	}
	return err
}

// owned reads the volume's marker. Whoever may make a PersistentVolume chooses what stands in it, but not what the controller wrote below the prefix when it made the volume: whose it is.
func owned(ctx context.Context, r session.Request, o s3.Options) error {
	c := r.Context
	bucket, err := s3.Open(r.Class.Fill(c.Location()), func() s3.Credentials { return r.Class.Credentials }, o)
	if err != nil {
		return err
	}
	defer bucket.Close()
	m, _, err := marker.Read(ctx, bucket, c.Prefix)
	switch {
	case errors.Is(err, s3.ErrNotFound), errors.Is(err, s3.ErrNoBucket):
		return fmt.Errorf("%w: there is no volume below prefix %q of bucket %s that the driver made", volume.ErrPrecondition, c.Prefix, c.Bucket)
	case err != nil:
		return err
	case m.State != marker.Ready:
		return errGone
	case m.PV != r.Volume || m.Identity != c.Identity:
		return fmt.Errorf("%w: the volume below prefix %q of bucket %s is that of PersistentVolume %q with identity %q, not of %s with %q: credentials are made for that alone",
			volume.ErrPrecondition, c.Prefix, c.Bucket, m.PV, m.Identity, r.Volume, c.Identity)
	}
	return nil
}

// request is what the credentials are minted by.
func (r *Renewer) request(ctx context.Context, v Volume, c volumecontext.Context) (session.Request, error) {
	if v.Class.Name == "" {
		return session.Request{}, fmt.Errorf("%w: PersistentVolume %s doesn't name the Secret that may assume the role: it needs the annotations "+
			"volume.kubernetes.io/provisioner-deletion-secret-name and -namespace, which external-provisioner sets", volume.ErrPrecondition, v.Name)
	}
	data, err := r.o.Secrets.Read(ctx, v.Class)
	if err != nil {
		return session.Request{}, err
	}
	class, err := secret.Parse(data)
	if err != nil {
		return session.Request{}, err
	}
	return session.Request{Volume: v.Name, Context: c, Class: class}, nil
}

// note remembers what a Secret has, and returns it. What was seen before is known for longer.
func (r *Renewer) note(name string, expires time.Time, lifetime time.Duration, own bool) known {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.known[name]; ok && !own && k.expires.Equal(expires) && k.lifetime == lifetime {
		return k
	}
	k := known{expires: expires, lifetime: lifetime, since: r.o.Now(), own: own}
	r.known[name] = k
	return k
}

func (r *Renewer) count(done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renewed[done]++
}

// report tells of a failure when it begins and when it ends.
func (r *Renewer) report(ctx context.Context, v Volume, err error) {
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, errGone) {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.failing, v.Name)
		return
	}
	r.mu.Lock()
	was, k := r.failing[v.Name], r.known[v.Name]
	if err != nil {
		r.renewed[false]++
		r.failing[v.Name] = true
	} else {
		delete(r.failing, v.Name)
	}
	r.mu.Unlock()
	log := klog.FromContext(ctx).WithValues("volume", v.ID)
	switch {
	case err != nil:
		log.Error(err, "The credentials of a volume aren't renewed; it is tried again", "expires", k.expires)
		if !was {
			until := "they may have ended already"
			if !k.expires.IsZero() {
				until = "those that it has end at " + k.expires.Format(time.RFC3339)
			}
			r.o.Tell.Claim(ctx, string(v.ID), events.VolumeCredentialsNotRenewed, fmt.Sprintf("the volume's credentials can't be renewed: %v; %s, and its pods get EACCES from then on", err, until))
		}
	case was:
		log.Info("The credentials of a volume are renewed again")
		r.o.Tell.Claim(ctx, string(v.ID), events.VolumeCredentialsRenewed, "the volume's credentials are renewed again")
	}
}
