package s3

// What is told of objects, and what is asked of a write.

import (
	"time"
)

// Object is one version of an object's content, as the store described it.
type Object struct {
	Key  string
	Size int64 // bytes
	// ETag is the store's name of this content, without its quotes. It is opaque: of a multipart object it is no hash of the content.
	ETag     string
	Modified time.Time // in seconds, by the store's clock
	// Metadata are the user's headers (x-amz-meta-...), names in lower case. A listing has none: nil.
	Metadata map[string]string
}

// Page is a part of a listing in the order of the keys' bytes.
type Page struct {
	Objects []Object
	// Prefixes are the keys up to and with the delimiter, each once, of all keys that have it behind the listing's prefix.
	Prefixes []string
	// Next continues the listing; empty: this was the last page.
	Next string
}

// Condition is what must be true of a key for a write to happen; the zero Condition is nothing. The error is ErrConflict when it isn't.
type Condition struct {
	// IfMatch: the object is there and has this ETag.
	IfMatch string
	// IfAbsent: there is no object.
	IfAbsent bool
}

// WriteOptions are what a written object gets besides its content.
type WriteOptions struct {
	Condition
	Metadata map[string]string // names in lower case, values of printable ASCII
	// StorageClass and SSE are passed as they are (x-amz-storage-class, x-amz-server-side-encryption); empty: the store's default.
	StorageClass string
	SSE          string
}

// Part is a finished part of a multipart upload.
type Part struct {
	Number int // 1 to MaxParts
	ETag   string
	// Size is in bytes, as the part was sent; it isn't told to the store.
	Size int64
}

// Upload is a multipart upload that was begun and neither completed nor aborted.
type Upload struct {
	Key, ID string
	Begun   time.Time
}

// The limits of multipart uploads (Amazon S3 User Guide, "Amazon S3 multipart upload limits").
const (
	MaxParts      = 10_000
	MinPartSize   = 5 << 20 // of every part but the last
	MaxPartSize   = 5 << 30
	MaxObjectSize = 5 << 40
	// MaxCopySize is the most that Copy copies at once; a larger object is copied with CopyPart.
	MaxCopySize = 5 << 30
	// MaxKeyLength is in bytes.
	MaxKeyLength = 1024
	// MaxDeleteKeys is how many keys one DeleteObjects request takes.
	MaxDeleteKeys = 1000
)
