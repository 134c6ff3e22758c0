// Package control is what strata-mountd and an engine of tier cold say to each other, and the descriptors that an engine starts with.
//
// The socket is a SOCK_SEQPACKET pair: one JSON message in one packet. The engine's first message is Ready or Failed; it then tells of what changes. The end of the
// socket tells each that the other is gone.
package control

import "github.com/prometheus/common/expfmt"

// The descriptors of an engine, by number.
const (
	FDFuse        = 3 // /dev/fuse, mounted; no request was read from it when Init of Hello is empty
	FDConfig      = 4 // a file with a config.Config in JSON
	FDCredentials = 5 // a file with Credentials in JSON
	FDControl     = 6 // the engine's end of the socket
)

// Credentials is the content of FDCredentials. Its fields are those of s3.Credentials, which it can be converted to; the holder needs nothing else of S3.
type Credentials struct {
	AccessKeyID     string `json:"accessKeyID"`
	SecretAccessKey string `json:"secretAccessKey"`
	SessionToken    string `json:"sessionToken,omitempty"`
}

// MaxMessage is the largest message in bytes.
const MaxMessage = 64 << 10

// The codes of Failed: what keeps an engine from starting, as its reader tells a user.
const (
	CodeDenied      = "denied"      // the store refuses the credential
	CodeNotFound    = "not-found"   // no such bucket
	CodeUnreachable = "unreachable" // the endpoint doesn't answer, or its certificate isn't trusted
	CodeInvalid     = "invalid"     // the configuration makes no sense
	CodeFailed      = "failed"      // anything else
)

// Message is one message of the engine; exactly one field is set.
type Message struct {
	// Init is the kernel's FUSE INIT request as it was read; sent once, before Ready, and kept by the holder for a later engine.
	Init []byte `json:"init,omitempty"`
	// Ready: the engine answers the kernel.
	Ready bool `json:"ready,omitempty"`
	// Failed: the engine ends because of this.
	Failed *Failure `json:"failed,omitempty"`
	// Health is all that is wrong with the volume by now; sent when it changes.
	Health *Health `json:"health,omitempty"`
	// Backing asks for what only the holder may do.
	Backing *BackingRequest `json:"backing,omitempty"`
	// Metrics is all that the engine has counted since its start, in MetricsFormat; sent every so often, and last at its end.
	Metrics []byte `json:"metrics,omitempty"`
}

// MetricsFormat is that of Metrics: metric families of Prometheus, each with its length before it. Their names begin with MetricsPrefix.
var MetricsFormat = expfmt.NewFormat(expfmt.TypeProtoDelim)

// MetricsPrefix begins the names of an engine's metrics.
const MetricsPrefix = "strata_cold_"

// Failure says why an engine doesn't start.
type Failure struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Health lists what is wrong; nothing: all is well.
type Health struct {
	Conditions []Condition `json:"conditions"`
}

// Condition is one thing that is wrong. Reason is one of the constants below.
type Condition struct {
	Reason string `json:"reason"`
	Text   string `json:"text"`
}

// The reasons of conditions.
const (
	CredentialRefused   = "CredentialRefused"
	BucketMissing       = "BucketMissing"
	EndpointUnreachable = "EndpointUnreachable"
	CacheDiskFull       = "CacheDiskFull"
	CacheDiskError      = "CacheDiskError"
	QuotaExceeded       = "QuotaExceeded"
)

// Order is one message of the holder; exactly one field is set.
type Order struct {
	// Credentials: one descriptor comes with the message (SCM_RIGHTS), with new Credentials; used from the next request on.
	Credentials bool `json:"credentials,omitempty"`
	// Backing answers a BackingRequest.
	Backing *BackingAnswer `json:"backing,omitempty"`
	// Flush: commit every open file that can be committed, and answer nothing; the end of the engine follows.
	Flush bool `json:"flush,omitempty"`
}
