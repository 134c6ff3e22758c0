package s3

// Writing, copying and removing objects.
//
// A conditional write whose answer is lost must not fail when it is repeated: the object that is in its way is its own. Such writes carry a mark in the
// object's metadata, by which they know their own again. Two writes of the same content are told apart by it too, which an ETag can't: of two that make
// the same lock file only one may succeed.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/encoding/httpbinding"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/errgroup"
)

// mark is the name of the metadata that has a write's mark. Head doesn't show it, and a copy has a new one.
const mark = "strata-write"

// marked adds a new mark to metadata.
func marked(metadata map[string]string) (map[string]string, string) {
	own := rand.Text()
	metadata = maps.Clone(metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata[mark] = own
	return metadata, own
}

// own tells whether the object under key is what the write with this mark made of it, after err; the error is err where it isn't.
func (b *Bucket) own(ctx context.Context, key, written string, err error) (Object, error) {
	o, by, headErr := b.head(ctx, key)
	switch {
	case headErr == nil && by == written:
		return o, nil
	case headErr == nil || errors.Is(headErr, ErrNotFound):
		return Object{}, err
	}
	return Object{}, headErr // we don't know, and say so
}

// Put writes a whole object of size bytes and describes it; Modified is the store's clock when it answered. body is read again from its beginning for each attempt.
// ErrUnavailable leaves open whether the object was written: another call with the same Condition may find it in its way.
func (b *Bucket) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, o WriteOptions) (Object, error) {
	c := b.call("write object", key)
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return Object{}, c.failed(ErrInvalid, err.Error())
	}
	in := &s3.PutObjectInput{
		Bucket: b.name(), Key: &key, Body: body, ContentLength: &size, Metadata: o.Metadata,
		IfMatch: optional(o.IfMatch), IfNoneMatch: absent(o.IfAbsent), // without quotes: radosgw 16 compares them too
		StorageClass: types.StorageClass(o.StorageClass), ServerSideEncryption: types.ServerSideEncryption(o.SSE),
	}
	var written string
	if o.Condition != (Condition{}) {
		in.Metadata, written = marked(o.Metadata)
	}
	out, err := b.client.PutObject(ctx, in, c.options, b.content)
	if err != nil {
		unanswered := c.unanswered
		if err = c.wrap(ctx, err); errors.Is(err, ErrConflict) && unanswered && written != "" {
			return b.own(ctx, key, written, err)
		}
		return Object{}, err
	}
	return Object{Key: key, Size: size, ETag: unquote(out.ETag), Modified: answered(out.ResultMetadata), Metadata: o.Metadata}, nil
}

// Copy copies an object of at most MaxCopySize bytes within the bucket, with new metadata. The version srcETag is copied; another is ErrConflict. Condition is of the
// destination, and only where the store knows conditional copies: docs/decisions/0021. The Size of the copy isn't told: it is the source's.
func (b *Bucket) Copy(ctx context.Context, src, srcETag, dst string, o WriteOptions) (Object, error) {
	if srcETag != "" { // radosgw 16 doesn't look at the condition of the source
		now, err := b.Head(ctx, src)
		if err != nil {
			return Object{}, err
		}
		if now.ETag != srcETag {
			return Object{}, b.call("copy object", src).failed(ErrConflict, fmt.Sprintf("it is %s now, not %s", now.ETag, srcETag))
		}
	}
	metadata, written := marked(o.Metadata)
	c := b.call("copy to object", dst)
	out, err := b.client.CopyObject(b.withPatience(ctx), &s3.CopyObjectInput{
		Bucket: b.name(), Key: &dst, CopySource: b.source(src), CopySourceIfMatch: quote(srcETag),
		IfMatch: optional(o.IfMatch), IfNoneMatch: absent(o.IfAbsent),
		Metadata: metadata, MetadataDirective: types.MetadataDirectiveReplace,
		StorageClass: types.StorageClass(o.StorageClass), ServerSideEncryption: types.ServerSideEncryption(o.SSE),
	}, c.options)
	if err != nil {
		unanswered := c.unanswered
		if err = c.wrap(ctx, err); errors.Is(err, ErrConflict) && unanswered {
			return b.own(ctx, dst, written, err)
		}
		return Object{}, err
	}
	if out.CopyObjectResult == nil || aws.ToString(out.CopyObjectResult.ETag) == "" {
		return b.own(ctx, dst, written, c.failed(ErrUnavailable, "the answer has no ETag"))
	}
	return Object{Key: dst, ETag: unquote(out.CopyObjectResult.ETag), Modified: aws.ToTime(out.CopyObjectResult.LastModified), Metadata: o.Metadata}, nil
}

// source names an object that is copied: each byte that isn't plain is encoded, '+' too, which stores read differently.
func (b *Bucket) source(key string) *string {
	return aws.String(b.location.Bucket + "/" + httpbinding.EscapePath(key, false))
}

// Delete removes an object; one that isn't there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	c := b.call("remove object", key)
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: b.name(), Key: &key}, c.options)
	if err = c.wrap(ctx, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// DeleteMany removes up to MaxDeleteKeys objects with one request; the error names the first key that stays.
func (b *Bucket) DeleteMany(ctx context.Context, keys []string) error {
	if len(keys) > MaxDeleteKeys {
		return b.call("remove objects of bucket", "").failed(ErrInvalid, "more keys than a request takes")
	}
	var ids []types.ObjectIdentifier
	for _, k := range keys {
		if !inXML(k) { // the request would name another object
			if err := b.Delete(ctx, k); err != nil {
				return err
			}
			continue
		}
		ids = append(ids, types.ObjectIdentifier{Key: &k})
	}
	if b.oneByOne.Load() {
		return b.deleteEach(ctx, ids)
	}
	for attempt := 1; len(ids) > 0; attempt++ {
		c := b.call("remove objects of bucket", "")
		out, err := b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: b.name(), Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
		}, c.options, withMD5)
		if err = c.wrap(ctx, err); errors.Is(err, ErrDenied) {
			if err = b.deleteEach(ctx, ids); err == nil {
				b.oneByOne.Store(true)
			}
			return err
		}
		if err != nil {
			return err
		}
		ids = ids[:0:0]
		var first error
		for _, e := range out.Errors {
			key := aws.ToString(e.Key)
			answer := &answerOfOne{aws.ToString(e.Code), aws.ToString(e.Message)}
			kind := kindOf(answer)
			if kind == ErrNotFound {
				continue
			}
			if first == nil {
				first = b.call("remove object", key).failed(kind, answer.Error())
			}
			if kind != ErrUnavailable || attempt == c.attempts {
				return first
			}
			ids = append(ids, types.ObjectIdentifier{Key: &key})
		}
		if len(ids) > 0 {
			pause, _ := c.RetryDelay(attempt, nil)
			select {
			case <-ctx.Done():
				return errors.Join(ctx.Err(), first)
			case <-time.After(pause):
			}
		}
	}
	return nil
}

// deletes is how many objects are removed at once where each takes a request of its own.
const deletes = 16

// deleteEach removes objects one by one: radosgw 16 lets no session use DeleteObjects whose policy is about objects.
func (b *Bucket) deleteEach(ctx context.Context, ids []types.ObjectIdentifier) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deletes)
	for _, id := range ids {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return b.Delete(ctx, aws.ToString(id.Key))
		})
	}
	return g.Wait()
}

// withMD5 adds the checksum that stores want which don't know the library's own.
func withMD5(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, smithyhttp.AddContentChecksumMiddleware)
}

// inXML tells whether XML 1.0 can have the string (section 2.2 of its specification). The library writes another character for one that it can't.
func inXML(s string) bool {
	for _, r := range s {
		switch {
		case r == '\t', r == '\n', r == '\r', r >= 0x20 && r <= 0xD7FF, r >= 0xE000 && r < 0xFFFD, r >= 0x10000: // U+FFFD stands for invalid UTF-8 too
		default:
			return false
		}
	}
	return true
}

// answered is the store's clock when it answered.
func answered(m middleware.Metadata) time.Time {
	t, _ := awsmiddleware.GetServerTime(m)
	return t
}

// quote is an ETag as a header has it; nil for none.
func quote(etag string) *string {
	if etag == "" {
		return nil
	}
	return aws.String(`"` + etag + `"`)
}

func unquote(etag *string) string {
	e := aws.ToString(etag)
	if len(e) >= 2 && e[0] == '"' && e[len(e)-1] == '"' {
		return e[1 : len(e)-1]
	}
	return e
}

func absent(yes bool) *string {
	if yes {
		return aws.String("*")
	}
	return nil
}
