package s3

// One operation: how often it is sent, what its errors are called, and whether a request of it may have been obeyed without an answer.

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// call is one operation. It is the library's retryer (aws.RetryerV2) too: there is no budget of retries that calls share, as in the library's own, since
// one file's bad luck must not be another's error.
type call struct {
	what     string // "read object KEY in bucket B"
	attempts int
	pause    time.Duration
	region   string
	endpoint string

	// unanswered: an attempt ended without a verdict, so that the store may have obeyed it all the same.
	unanswered bool
	last       error
}

func (b *Bucket) call(verb, key string) *call {
	what := verb + " " + b.location.Bucket
	if key != "" {
		what = fmt.Sprintf("%s %q in bucket %s", verb, key, b.location.Bucket)
	}
	return &call{what: what, attempts: b.options.Attempts, pause: b.options.Pause, region: b.location.Region, endpoint: b.location.Endpoint}
}

// options is an option of the library's calls.
func (c *call) options(o *s3.Options) {
	o.Retryer = c
	o.RetryMaxAttempts = c.attempts
}

// clockSkew: the library has learnt the store's clock from the answer and signs the next attempt by it.
var clockSkew = retry.IsErrorRetryables(retry.DefaultRetryables)

// IsErrorRetryable implements aws.Retryer.
func (c *call) IsErrorRetryable(err error) bool {
	kind := kindOf(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		c.unanswered = true
		return false
	}
	c.last = err
	if kind == ErrUnavailable {
		c.unanswered = true
		return true
	}
	if code(err) == "ConditionalRequestConflict" || code(err) == "OperationAborted" { // another write of the key is under way, perhaps our own first attempt
		return true
	}
	return kind == ErrDenied && clockSkew.IsErrorRetryable(err) == aws.TrueTernary
}

// MaxAttempts implements aws.Retryer.
func (c *call) MaxAttempts() int { return c.attempts }

// RetryDelay implements aws.Retryer: half of it is chance, so that clients that failed together don't come back together.
func (c *call) RetryDelay(attempt int, _ error) (time.Duration, error) {
	d := min(c.pause<<min(attempt-1, 10), MaxPause)
	return d/2 + rand.N(d/2+1), nil
}

func noToken(error) error { return nil }

// GetRetryToken implements aws.Retryer.
func (*call) GetRetryToken(context.Context, error) (func(error) error, error) { return noToken, nil }

// GetInitialToken implements aws.Retryer.
func (*call) GetInitialToken() func(error) error { return noToken }

// GetAttemptToken implements aws.RetryerV2.
func (*call) GetAttemptToken(context.Context) (func(error) error, error) { return noToken, nil }

// wrap makes one of the package's errors of the library's.
func (c *call) wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil {
		if c.last != nil && kindOf(c.last) == ErrUnavailable {
			return fmt.Errorf("%s: %w; before that: %s", c.what, ended, detail(c.last))
		}
		return fmt.Errorf("%s: %w", c.what, ended)
	}
	text := detail(err)
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		if region := answer.Response.Header.Get("x-amz-bucket-region"); region != "" && region != c.region {
			text += fmt.Sprintf("; the bucket is in region %s, and requests are signed for %s", region, c.region)
		}
	}
	kind := kindOf(err)
	if kind == ErrUntrusted {
		text += "; " + c.remedy(err)
	}
	return c.failed(kind, text)
}

func (c *call) failed(kind error, text string) error {
	return fmt.Errorf("%s: %w: %s", c.what, kind, text)
}

// code is what the store calls its error, or "".
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// remedy says what to do about a certificate that isn't trusted. It names the endpoint, since that of STS can be another.
func (c *call) remedy(err error) string {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		text := fmt.Sprintf("%s must be given by a name that its certificate is for", c.endpoint)
		if u, err := url.Parse(c.endpoint); err == nil && strings.HasSuffix(name.Host, "."+u.Hostname()) {
			text += ", or pathStyle be true: the bucket's name is a part of the host's otherwise"
		}
		return text
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s, or that of an authority in caBundle, must be renewed, or the clock here be set", c.endpoint)
	}
	return fmt.Sprintf("caBundle must have, in PEM, the certificate of the authority that signed that of %s", c.endpoint)
}

// detail is what the store answered, without the library's words around it.
func detail(err error) string {
	var api smithy.APIError
	var answer *smithyhttp.ResponseError
	isAnswer := errors.As(err, &answer)
	switch {
	case errors.As(err, &api) && isAnswer:
		return fmt.Sprintf("%d %s: %s", answer.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage())
	case isAnswer && answer.HTTPStatusCode() > 0:
		return fmt.Sprintf("%d %s: %s", answer.HTTPStatusCode(), http.StatusText(answer.HTTPStatusCode()), answer.Err)
	}
	var send *smithyhttp.RequestSendError
	if errors.As(err, &send) {
		var request *url.Error
		if errors.As(send.Err, &request) { // the URL says nothing new
			return request.Err.Error()
		}
		return send.Err.Error()
	}
	var exhausted *retry.MaxAttemptsError
	if errors.As(err, &exhausted) {
		return exhausted.Err.Error()
	}
	return err.Error()
}
