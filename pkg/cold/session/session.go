// Package session mints the credentials of one volume of the cold tier: a session of a role, bound by its policy to the volume's prefix, which ends by itself. Decision 38 says what
// was measured of stores.
package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"time"

	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

// Request asks for the credentials of a volume.
type Request struct {
	// Volume is what the session is called, in the store's logs: the name of the PersistentVolume.
	Volume string
	// Context is the volume's own.
	Context volumecontext.Context
	// Class is the secret of its class, which may assume the role.
	Class secret.Secret
}

func (r Request) location(l s3.Location) s3.Location { return r.Class.Fill(l) }

// sts is where sessions are asked for.
func (r Request) sts() s3.Location { return r.location(r.Context.STS()) }

// foreign are the characters that the name of a session can't have (AWS STS, AssumeRole, RoleSessionName).
var foreign = regexp.MustCompile(`[^A-Za-z0-9=,.@_-]`)

// maxName is how long the name of a session may be.
const maxName = 64

// ask asks for a session. policy "": unbound.
func ask(ctx context.Context, l s3.Location, key s3.Credentials, r Request, policy string, lifetime time.Duration, o s3.Options) (s3.Session, error) {
	name := "strata-" + foreign.ReplaceAllString(r.Volume, "_")
	return s3.AssumeRole(ctx, l, func() s3.Credentials { return key }, s3.SessionRequest{
		Role: r.Context.RoleARN, Name: name[:min(len(name), maxName)], Policy: policy, Lifetime: lifetime,
	}, o)
}

// Mint asks for credentials. The error is one of pkg/s3, or wraps volume.ErrInvalid.
func Mint(ctx context.Context, r Request, o s3.Options) (s3.Session, error) {
	policy, err := policyOf(r.Context)
	if err != nil {
		return s3.Session{}, err
	}
	return ask(ctx, r.sts(), r.Class.Credentials, r, policy, r.Context.CredentialsLifetime, o)
}

// Prove tries whether the credentials that were minted for a request do what they are for, and are bound: they must list the volume, and not the bucket around it, and not get
// others without a bound by assuming the role again. volume.ErrPrecondition: a node could get at other volumes with them. It is a matter of the role and of the store, not of the volume.
func Prove(ctx context.Context, r Request, s s3.Session, o s3.Options) error {
	c := r.Context
	bucket, err := s3.Open(r.location(c.Location()), func() s3.Credentials { return s.Credentials }, o)
	if err != nil {
		return err
	}
	defer bucket.Close()
	if _, err := bucket.List(ctx, s3.ListRequest{Prefix: c.Prefix, Max: 1}); errors.Is(err, s3.ErrDenied) {
		return fmt.Errorf("%w: the role %s may not list %q in bucket %s: give it s3:* on the bucket; what a volume's credentials may do is less (%w)", volume.ErrPrecondition, c.RoleARN, c.Prefix, c.Bucket, err)
	} else if err != nil {
		return err
	}
	// What no volume's policy allows. To list all of the bucket is the right of a volume that has it for itself.
	beyond := map[string]func() error{"list the unfinished uploads of": func() error { _, err := bucket.Uploads(ctx, c.Prefix); return err }}
	if c.Prefix != "" {
		beyond["list all of"] = func() error { _, err := bucket.List(ctx, s3.ListRequest{Max: 1}); return err }
	}
	for what, do := range beyond {
		err := mustRefuse(do)
		if errors.Is(err, errObeyed) {
			return fmt.Errorf("%w: the store doesn't hold a session to its policy: credentials for %q %s bucket %s. identity: volume is of no use there", volume.ErrPrecondition, c.Prefix, what, c.Bucket)
		}
		if err != nil {
			return err
		}
	}
	err = mustRefuse(func() error {
		_, err := ask(ctx, r.sts(), s.Credentials, r, "", s3.MinSession, o)
		return err
	})
	if errors.Is(err, errObeyed) {
		return fmt.Errorf("%w: whoever has credentials of one volume can assume the role %s again, for every volume: add \"Condition\":{\"Null\":{\"aws:TokenIssueTime\":\"true\"}} to the statement of its trust policy",
			volume.ErrPrecondition, c.RoleARN)
	}
	return err
}

var errObeyed = errors.New("it wasn't refused")

// mustRefuse does what the store must refuse.
func mustRefuse(do func() error) error {
	switch err := do(); {
	case err == nil:
		return errObeyed
	case errors.Is(err, s3.ErrDenied):
		return nil
	default:
		return err
	}
}

// Fields are what the volume's Secret holds: the credentials, and what of the class's secret a node needs besides.
func Fields(r Request, s s3.Session) map[string]string {
	fields := map[string]string{
		secret.KeyAccessKeyID: s.Credentials.AccessKeyID, secret.KeySecretAccessKey: s.Credentials.SecretAccessKey, secret.KeySessionToken: s.Credentials.SessionToken,
		secret.KeyExpires: s.Expires.UTC().Format(time.RFC3339),
	}
	maps.Copy(fields, r.Class.Place())
	return fields
}

// Expires reads when the credentials of a Secret end. The zero time: it doesn't say so.
func Expires(fields map[string]string) time.Time {
	at, err := time.Parse(time.RFC3339, fields[secret.KeyExpires])
	if err != nil {
		return time.Time{}
	}
	return at
}
