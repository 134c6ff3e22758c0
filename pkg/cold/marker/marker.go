// Package marker is the note that stands in each volume of the cold tier: whose it is, how large it may be, what becomes of it. It is the volume's only record. Its
// exclusive creation is what makes a volume.
package marker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

// Directory begins the keys that are Strata's own, Key is the marker's; both behind the volume's prefix.
const (
	Directory = volumecontext.Reserved + "/"
	Key       = Directory + "owner.json"
)

// maxSize is far more than a marker has, in bytes.
const maxSize = 64 << 10

// State says where in its life a volume is.
type State string

// The states.
const (
	Ready    State = ""
	Deleting State = "deleting" // its objects are being removed
	Retained State = "retained" // deleted, and kept because of onDelete: retain
)

// What becomes of a volume's objects when it is deleted.
const (
	Delete = "delete"
	Retain = "retain"
)

// Marker is what is noted.
type Marker struct {
	Name string `json:"name"` // of the CSI request
	volume.Owner
	Capacity   int64  `json:"capacity"`             // bytes
	Parameters string `json:"parameters,omitempty"` // a hash of what the volume was made with
	OnDelete   string `json:"onDelete"`             // Delete or Retain
	State      State  `json:"state,omitempty"`
	// Identity: nodes have credentials of the volume's own, in the Secret that is named after the PersistentVolume.
	Identity volumecontext.Identity `json:"identity,omitempty"`
	Created  time.Time              `json:"created"`
}

// Store is what markers are kept in: *s3.Bucket.
type Store interface {
	Head(ctx context.Context, key string) (s3.Object, error)
	Get(ctx context.Context, key, etag string, off, n int64) (io.ReadCloser, error)
	Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o s3.WriteOptions) (s3.Object, error)
}

// Read returns the marker of the volume at prefix ("", or ending with '/') and its ETag. s3.ErrNotFound: there is none.
func Read(ctx context.Context, b Store, prefix string) (Marker, string, error) {
	o, err := b.Head(ctx, prefix+Key)
	if err != nil {
		return Marker{}, "", err
	}
	if o.Size == 0 || o.Size > maxSize {
		return Marker{}, "", fmt.Errorf("%w: %s has %d bytes; it isn't one of Strata's markers", volume.ErrPrecondition, prefix+Key, o.Size)
	}
	body, err := b.Get(ctx, o.Key, o.ETag, 0, o.Size)
	if err != nil {
		return Marker{}, "", err
	}
	defer body.Close()
	raw, err := io.ReadAll(body)
	if err != nil {
		return Marker{}, "", err
	}
	var m Marker
	if err := json.Unmarshal(raw, &m); err != nil {
		return Marker{}, "", fmt.Errorf("%w: %s isn't one of Strata's markers: %s", volume.ErrPrecondition, prefix+Key, err)
	}
	return m, o.ETag, nil
}

// Write writes the marker under a condition; s3.ErrConflict when it isn't met.
func Write(ctx context.Context, b Store, prefix string, m Marker, c s3.Condition) (etag string, err error) {
	raw, err := json.MarshalIndent(m, "", "  ") // people read it
	if err != nil {
		return "", err
	}
	o, err := b.Put(ctx, prefix+Key, bytes.NewReader(raw), int64(len(raw)), s3.WriteOptions{Condition: c})
	return o.ETag, err
}
