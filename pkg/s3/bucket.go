package s3

// A client of one bucket, and what is asked of the bucket itself. Nothing here keeps state besides connections.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Options bound what a Bucket uses. A zero field has its default.
type Options struct {
	// Connections is how many requests run at once (default 64), the bodies of their answers included; a further one waits for its turn or its context.
	Connections int
	// Attempts is how often a request is sent at most, with growing pauses between (default 5).
	Attempts int
	// Pause is the longest pause before the second attempt (default 200 ms); it doubles with each further one, up to MaxPause.
	Pause time.Duration
	// Patience is how long a connection may stand still before the attempt counts as failed (default 30 s). A store that copies or joins objects answers late:
	// it has ten times as long.
	Patience time.Duration
}

// MaxPause is the longest pause between two attempts.
const MaxPause = 5 * time.Second

func (o Options) withDefaults() Options {
	if o.Connections <= 0 {
		o.Connections = 64
	}
	if o.Attempts <= 0 {
		o.Attempts = 5
	}
	if o.Pause <= 0 {
		o.Pause = 200 * time.Millisecond
	}
	if o.Patience <= 0 {
		o.Patience = 30 * time.Second
	}
	return o
}

// Bucket is a client of one bucket. It is safe for concurrent use. A request that may be repeated is repeated after ErrUnavailable until Options.Attempts
// or its context ends it.
type Bucket struct {
	location Location
	options  Options
	client   *s3.Client
	http     *transport
	// unsigned: TLS guards the content of requests, so that they needn't be read twice for a signature.
	unsigned bool
	// writes are the marks of the uploads that were begun here, by their id: see mark.
	writes sync.Map
	// oneByOne: the store lets this credential remove objects, and not many with one request.
	oneByOne atomic.Bool
}

// Open makes a client; nothing is asked of the store yet. The error wraps ErrInvalid and says what of the location is wrong and what it may be.
func Open(l Location, p Provider, o Options) (*Bucket, error) {
	roots, err := l.check()
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, fmt.Errorf("%w: no credentials", ErrInvalid)
	}
	if l.Region == "" {
		l.Region = DefaultRegion
	}
	o = o.withDefaults()
	t := newTransport(roots, o)
	client := s3.New(s3.Options{
		AppID:        "strata",
		BaseEndpoint: aws.String(l.Endpoint),
		Region:       l.Region,
		UsePathStyle: l.PathStyle,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			c := p()
			return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
		}),
		HTTPSignerV4: &signer{},
		// Older releases of radosgw, and other stores, refuse the trailers that are the library's default.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		// A redirect is for a client with another region or endpoint: the signature would be wrong there.
		HTTPClient: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
	return &Bucket{location: l, options: o, client: client, http: t, unsigned: l.secure()}, nil
}

// Close ends idle connections.
func (b *Bucket) Close() { b.http.base.CloseIdleConnections() }

// Location says where the bucket is.
func (b *Bucket) Location() Location { return b.location }

func (b *Bucket) name() *string { return aws.String(b.location.Bucket) }

// content lets the content of a request be signed where nothing else guards it.
func (b *Bucket) content(o *s3.Options) {
	if b.unsigned {
		o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	}
}

// Exists tells whether the bucket is there and the credential may use it: nil, ErrNoBucket, ErrDenied or ErrUnavailable. It lists, since the answer to a HEAD has no body that says
// what is wrong. A credential that may see one prefix alone is denied this: List below the prefix then.
func (b *Bucket) Exists(ctx context.Context) error {
	c := b.call("look for bucket", "")
	_, err := b.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: b.name(), MaxKeys: aws.Int32(1)}, c.options)
	return c.wrap(ctx, err)
}

// Create makes the bucket; one that is the caller's already is no error, another's is ErrConflict.
func (b *Bucket) Create(ctx context.Context) error {
	in := &s3.CreateBucketInput{Bucket: b.name()}
	if b.location.Region != DefaultRegion {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(b.location.Region)}
	}
	c := b.call("make bucket", "")
	_, err := b.client.CreateBucket(ctx, in, c.options)
	if code(err) == "InvalidLocationConstraint" {
		// To stores other than AWS, a constraint is a name of theirs, not the region of the signature.
		in.CreateBucketConfiguration = nil
		_, err = b.client.CreateBucket(ctx, in, c.options)
	}
	if code(err) == "BucketAlreadyOwnedByYou" {
		return nil
	}
	return c.wrap(ctx, err)
}

// Remove removes the bucket, which must be empty (ErrConflict otherwise); one that isn't there is no error.
func (b *Bucket) Remove(ctx context.Context) error {
	c := b.call("remove bucket", "")
	_, err := b.client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: b.name()}, c.options)
	if err = c.wrap(ctx, err); errors.Is(err, ErrNoBucket) || errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
