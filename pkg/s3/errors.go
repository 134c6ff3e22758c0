package s3

// What can go wrong, as errors.Is finds it. Every error says in its text which operation on which bucket and key it was, and what the store answered; it never has a credential
// in it.

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var (
	// ErrNotFound: no such key, or no such upload. The answer to Head doesn't tell a missing bucket from a missing key; Exists does.
	ErrNotFound = errors.New("no such object")
	// ErrNoBucket: no such bucket.
	ErrNoBucket = errors.New("no such bucket")
	// ErrConflict: a Condition is not met (412), or another write of the same key was faster (409).
	ErrConflict = errors.New("the object has changed")
	// ErrDenied: the store refuses the credential, or refuses it this (401, 403).
	ErrDenied = errors.New("the store refuses the credential")
	// ErrInvalid: the store refuses the request as it is (400 and others of its kind, 405, 501), or it can't be one.
	ErrInvalid = errors.New("invalid S3 request")
	// ErrUnavailable: no answer, or none that is of use (5xx, SlowDown, broken connections, a body that is too short), after all retries.
	ErrUnavailable = errors.New("the store doesn't answer")
	// ErrUntrusted: the endpoint shows a certificate that isn't for it, or that no authority of Location.CABundle (or of the system) vouches for. Nothing was sent to it. It is
	// ErrUnavailable, too, but not repeated: a certificate doesn't change in seconds.
	ErrUntrusted error = untrusted{}
	// ErrFull: the store has no room for it (507, QuotaExceeded).
	ErrFull = errors.New("the store is full")
)

type untrusted struct{}

func (untrusted) Error() string { return "the store's certificate isn't trusted" }
func (untrusted) Unwrap() error { return ErrUnavailable }

// kinds are the codes that say more than the status they come with (Amazon S3 API Reference, "Error responses"; radosgw's and versitygw's own).
var kinds = map[string]error{
	"NoSuchBucket": ErrNoBucket,
	"NoSuchKey":    ErrNotFound,
	"NoSuchUpload": ErrNotFound,

	"PreconditionFailed":         ErrConflict,
	"ConditionalRequestConflict": ErrConflict,
	"OperationAborted":           ErrConflict,
	"BucketAlreadyExists":        ErrConflict,
	"BucketAlreadyOwnedByYou":    ErrConflict,
	"BucketNotEmpty":             ErrConflict,

	// Answered with 400 or 404.
	"ExpiredToken":          ErrDenied,
	"InvalidToken":          ErrDenied,
	"TokenRefreshRequired":  ErrDenied,
	"InvalidAccessKeyId":    ErrDenied,
	"AccessDenied":          ErrDenied, // of one object of many, whose answer has no status
	"SignatureDoesNotMatch": ErrDenied,
	"XAdminUserNotFound":    ErrDenied,

	"QuotaExceeded":       ErrFull,
	"InsufficientStorage": ErrFull,
	"XMinioStorageFull":   ErrFull,

	// What arrived isn't what was sent.
	"RequestTimeout":            ErrUnavailable,
	"IncompleteBody":            ErrUnavailable,
	"BadDigest":                 ErrUnavailable,
	"XAmzContentSHA256Mismatch": ErrUnavailable,
	"SlowDown":                  ErrUnavailable,
	"InternalError":             ErrUnavailable,
	"ServiceUnavailable":        ErrUnavailable,
}

// kindOf tells which of the package's errors an error of the library is.
func kindOf(err error) error {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return ErrUntrusted
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if kind := kinds[api.ErrorCode()]; kind != nil {
			return kind
		}
	}
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.HTTPStatusCode() == 0 {
		var serialization *smithy.SerializationError
		var parameters smithy.InvalidParamsError
		if errors.As(err, &serialization) || errors.As(err, &parameters) {
			return ErrInvalid
		}
		return ErrUnavailable
	}
	var broken *net.OpError
	if errors.As(err, &broken) || errors.Is(err, io.ErrUnexpectedEOF) { // the body that would say what is wrong
		return ErrUnavailable
	}
	switch status := answer.HTTPStatusCode(); {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusPreconditionFailed:
		return ErrConflict
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return ErrUnavailable
	case status == http.StatusInsufficientStorage:
		return ErrFull
	case status == http.StatusNotImplemented:
		return ErrInvalid
	case status >= 500:
		return ErrUnavailable
	case status >= 300:
		return ErrInvalid
	}
	return ErrUnavailable // an answer of success that can't be read
}

// answerOfOne is the store's error for one key of a request for many.
type answerOfOne struct{ code, message string }

func (a *answerOfOne) Error() string                 { return a.code + ": " + a.message }
func (a *answerOfOne) ErrorCode() string             { return a.code }
func (a *answerOfOne) ErrorMessage() string          { return a.message }
func (a *answerOfOne) ErrorFault() smithy.ErrorFault { return smithy.FaultUnknown }
