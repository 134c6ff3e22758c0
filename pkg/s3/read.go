package s3

// Reading objects.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Head describes an object with its metadata.
func (b *Bucket) Head(ctx context.Context, key string) (Object, error) {
	o, _, err := b.head(ctx, key)
	return o, err
}

// head tells the mark of the object's write, too.
func (b *Bucket) head(ctx context.Context, key string) (Object, string, error) {
	c := b.call("describe object", key)
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: b.name(), Key: &key}, c.options)
	if err != nil {
		return Object{}, "", c.wrap(ctx, err)
	}
	metadata := maps.Clone(out.Metadata)
	written := metadata[mark]
	delete(metadata, mark)
	if metadata == nil {
		metadata = map[string]string{}
	}
	return Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: unquote(out.ETag), Modified: aws.ToTime(out.LastModified), Metadata: metadata,
	}, written, nil
}

// Get reads n bytes from off of the version etag of an object; another version is ErrConflict. The body has exactly n bytes or ends with an error that wraps
// ErrUnavailable: a shortened answer is never taken for the end of the object. Only the request itself is repeated, not a body that
// broke off. The caller closes the body. An empty etag is any version; a range that isn't all within the object is ErrInvalid.
func (b *Bucket) Get(ctx context.Context, key, etag string, off, n int64) (io.ReadCloser, error) {
	c := b.call("read object", key)
	if off < 0 || n < 0 {
		return nil, c.failed(ErrInvalid, fmt.Sprintf("%d bytes from %d", n, off))
	}
	if n == 0 {
		return http.NoBody, nil
	}
	in := &s3.GetObjectInput{Bucket: b.name(), Key: &key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1)), IfMatch: quote(etag)}
	out, err := b.client.GetObject(ctx, in, c.options)
	if err != nil {
		return nil, c.wrap(ctx, err)
	}
	refuse := func(kind error, format string, args ...any) (io.ReadCloser, error) {
		_ = out.Body.Close()
		return nil, c.failed(kind, fmt.Sprintf(format, args...))
	}
	// Not every store, and no cache between, looks at the condition.
	if got := unquote(out.ETag); etag != "" && got != etag {
		return refuse(ErrConflict, "asked for %s, got %s", etag, got)
	}
	var first, last, size int64
	if r := aws.ToString(out.ContentRange); r == "" { // the whole object
		size = aws.ToInt64(out.ContentLength)
		last = size - 1
	} else if _, err := fmt.Sscanf(r, "bytes %d-%d/%d", &first, &last, &size); err != nil {
		return refuse(ErrUnavailable, "the answer is of the range %q", r)
	}
	if size < off+n {
		return refuse(ErrInvalid, "asked for bytes %d to %d, the object has %d", off, off+n-1, size)
	}
	if first != off || last < off+n-1 {
		return refuse(ErrUnavailable, "asked for bytes %d to %d, got %d to %d", off, off+n-1, first, last)
	}
	return &body{ReadCloser: out.Body, call: c, ctx: ctx, left: n}, nil
}

// body ends after exactly the bytes that were asked for, or with an error.
type body struct {
	io.ReadCloser
	call *call
	ctx  context.Context
	left int64
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case b.left == 0:
		return n, io.EOF
	case err == nil:
		return n, nil
	case b.ctx.Err() != nil:
		return n, fmt.Errorf("%s: %w", b.call.what, b.ctx.Err())
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, b.call.failed(ErrUnavailable, fmt.Sprintf("the answer broke off with %d bytes to come: %s", b.left, err))
}
