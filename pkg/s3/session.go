package s3

// Sessions: access keys that end by themselves and may do less than the one that asked for them (AWS Security Token Service, AssumeRole; of Ceph, doc/radosgw/STS.rst).

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// The shortest and the longest session that a store may be asked for; its role can have a lower limit (an hour unless it was made otherwise).
const (
	MinSession = 15 * time.Minute
	MaxSession = 12 * time.Hour
)

// SessionRequest asks for a session.
type SessionRequest struct {
	// Role is the ARN of the role that is assumed.
	Role string
	// Name stands in the store's logs: 2 to 64 letters, digits and "=,.@-_".
	Name string
	// Policy is what the session may do of what the role may, in IAM's JSON. It has no white space outside of its texts: radosgw 16 doesn't take it. Empty: all of it.
	Policy string
	// Lifetime is rounded down to seconds.
	Lifetime time.Duration
}

// Session is what the store gave.
type Session struct {
	Credentials Credentials
	// Expires is by the store's clock.
	Expires time.Time
}

// AssumeRole asks the store at a location, whose Endpoint is that of its STS, for a session. ErrDenied: the credentials may not assume the role, or there is none; ErrInvalid: the store
// doesn't take the request, or has no STS.
func AssumeRole(ctx context.Context, l Location, p Provider, r SessionRequest, o Options) (Session, error) {
	roots, err := l.check()
	if err != nil {
		return Session{}, err
	}
	if l.Region == "" {
		l.Region = DefaultRegion
	}
	o = o.withDefaults()
	t := newTransport(roots, o)
	defer t.base.CloseIdleConnections()
	c := &call{what: "assume role " + r.Role, attempts: o.Attempts, pause: o.Pause, region: l.Region, endpoint: l.Endpoint}
	client := sts.New(sts.Options{
		AppID:        "strata",
		BaseEndpoint: aws.String(l.Endpoint),
		Region:       l.Region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			k := p()
			return aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}, nil
		}),
		Retryer:          c,
		RetryMaxAttempts: c.attempts,
		HTTPClient:       &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
	in := &sts.AssumeRoleInput{RoleArn: &r.Role, RoleSessionName: &r.Name, DurationSeconds: aws.Int32(int32(r.Lifetime / time.Second)), Policy: optional(r.Policy)}
	out, err := client.AssumeRole(ctx, in)
	if err != nil {
		return Session{}, c.wrap(ctx, err)
	}
	k := out.Credentials
	if k == nil || aws.ToString(k.AccessKeyId) == "" || aws.ToString(k.SecretAccessKey) == "" || aws.ToString(k.SessionToken) == "" || k.Expiration == nil {
		return Session{}, c.failed(ErrInvalid, fmt.Sprintf("%s answers without credentials: it has no STS there", l.Endpoint))
	}
	return Session{Credentials{*k.AccessKeyId, *k.SecretAccessKey, *k.SessionToken}, *k.Expiration}, nil
}
