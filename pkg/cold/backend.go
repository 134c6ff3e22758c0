package cold

import (
	"fmt"
	"sync"

	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// Options are those of a Backend.
type Options struct {
	// Client bounds what a call does to its store; zero fields have the defaults of package s3.
	Client s3.Options
	// Keeper is where the credentials of volumes are kept that have their own; nil: there are no such volumes.
	Keeper Keeper
}

// Backend is tier cold of a controller. It is a tier.Provisioner, a tier.Expander, a tier.CapacityReporter and a tier.SecretUser.
type Backend struct {
	options Options
	checked *checked
	secrets map[string]string // of one request
}

var (
	_ tier.Provisioner      = (*Backend)(nil)
	_ tier.Expander         = (*Backend)(nil)
	_ tier.CapacityReporter = (*Backend)(nil)
	_ tier.SecretUser       = (*Backend)(nil)
)

// New returns the backend. Without WithSecrets it checks parameters and does nothing else.
func New(o Options) *Backend { return &Backend{options: o, checked: &checked{}} }

// WithSecrets returns the backend that acts with the secrets of one request. See tier.SecretUser.
func (b *Backend) WithSecrets(secrets map[string]string) tier.Provisioner {
	own := *b
	own.secrets = secrets
	return &own
}

// CheckParameters refuses the parameters of a StorageClass that Create would refuse without asking the store.
func (b *Backend) CheckParameters(parameters map[string]string) error {
	c, err := parseClass(parameters, "any")
	if err != nil {
		return err
	}
	_, err = c.place("any")
	return err
}

// checked remembers which stores keep conditions, by endpoint and bucket, and which roles give bound sessions: what a store can do doesn't change from volume to volume.
type checked struct {
	mu     sync.Mutex
	stores map[string]bool
}

func (c *checked) has(store string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stores[store]
}

func (c *checked) add(store string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stores == nil {
		c.stores = map[string]bool{}
	}
	c.stores[store] = true
}

// site is a volume's place with a client of its bucket. It is closed when the call ends.
type site struct {
	place
	endpoint string
	bucket   *s3.Bucket
}

// open makes the client of a place. l says how to talk to it.
func (b *Backend) open(p place, l s3.Location, s secret.Secret) (site, error) {
	l.Bucket = p.bucket
	client, err := s3.Open(l, func() s3.Credentials { return s.Credentials }, b.options.Client)
	if err != nil {
		return site{}, fmt.Errorf("%w: %w", volume.ErrInvalid, err)
	}
	return site{place: p, endpoint: l.Endpoint, bucket: client}, nil
}

// find opens the place that an id names; only the secret says more of it.
func (b *Backend) find(id volume.ID) (site, error) {
	p, endpoint, err := parsePlace(id)
	if err != nil {
		return site{}, err
	}
	s, err := secret.Parse(b.secrets)
	if err != nil {
		return site{}, err
	}
	c := volumecontext.Context{Endpoint: endpoint, PathStyle: pathStyle(s), Bucket: p.bucket}
	return b.open(p, s.Fill(c.Location()), s)
}

// pathStyle is what the secret says, or the default.
func pathStyle(s secret.Secret) bool { return s.PathStyle == nil || *s.PathStyle }
