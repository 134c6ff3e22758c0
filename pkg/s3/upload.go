package s3

// Multipart uploads.

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// CreateUpload begins a multipart upload. A key with control characters, or one that isn't UTF-8, is ErrInvalid. The Condition of o is not looked at: it is for Complete.
func (b *Bucket) CreateUpload(ctx context.Context, key string, o WriteOptions) (id string, err error) {
	metadata, written := marked(o.Metadata)
	c := b.call("begin upload of object", key)
	if !inXML(key) { // radosgw writes the key into its answers, which nobody can read then, those of Uploads included
		return "", c.failed(ErrInvalid, "the key has characters that XML can't have; only Put can write it")
	}
	out, err := b.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: b.name(), Key: &key, Metadata: metadata,
		StorageClass: types.StorageClass(o.StorageClass), ServerSideEncryption: types.ServerSideEncryption(o.SSE),
	}, c.options)
	if err != nil {
		return "", c.wrap(ctx, err)
	}
	id = aws.ToString(out.UploadId)
	if id == "" {
		return "", c.failed(ErrUnavailable, "the answer has no id")
	}
	b.writes.Store(id, written)
	return id, nil
}

// UploadPart sends a part; a part that was sent before is replaced. body is read again from its beginning for each attempt.
func (b *Bucket) UploadPart(ctx context.Context, key, id string, number int, body io.ReadSeeker, size int64) (Part, error) {
	c := b.call(fmt.Sprintf("send part %d of object", number), key)
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return Part{}, c.failed(ErrInvalid, err.Error())
	}
	out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: b.name(), Key: &key, UploadId: &id, PartNumber: aws.Int32(int32(number)), Body: body, ContentLength: &size,
	}, c.options, b.content)
	if err != nil {
		return Part{}, c.wrap(ctx, err)
	}
	return c.part(number, out.ETag, size)
}

// CopyPart makes a part of n bytes from off of the version srcETag of an object of the bucket. radosgw 16 doesn't look at srcETag: whoever must be sure describes the source again
// before Complete; the parts are of that version when it is the object's still.
func (b *Bucket) CopyPart(ctx context.Context, key, id string, number int, src, srcETag string, off, n int64) (Part, error) {
	c := b.call(fmt.Sprintf("copy part %d of object", number), key)
	out, err := b.client.UploadPartCopy(b.withPatience(ctx), &s3.UploadPartCopyInput{
		Bucket: b.name(), Key: &key, UploadId: &id, PartNumber: aws.Int32(int32(number)),
		CopySource: b.source(src), CopySourceIfMatch: quote(srcETag), CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1)),
	}, c.options)
	if err != nil {
		return Part{}, c.wrap(ctx, err)
	}
	if out.CopyPartResult == nil {
		return Part{}, c.failed(ErrUnavailable, "the answer has no ETag")
	}
	return c.part(number, out.CopyPartResult.ETag, n)
}

func (c *call) part(number int, etag *string, size int64) (Part, error) {
	if aws.ToString(etag) == "" {
		return Part{}, c.failed(ErrUnavailable, "the answer has no ETag")
	}
	return Part{Number: number, ETag: unquote(etag), Size: size}, nil
}

// Complete makes an object of the parts, in the order of their numbers, and describes it: when it returns nil, every client sees it. After an answer that was lost it
// looks whether the object is there, so that a repetition doesn't fail for what the first request did. An error besides ErrConflict, ErrInvalid, ErrDenied and ErrNotFound leaves open whether
// the object was made.
func (b *Bucket) Complete(ctx context.Context, key, id string, parts []Part, cond Condition) (Object, error) {
	in := &s3.CompleteMultipartUploadInput{
		Bucket: b.name(), Key: &key, UploadId: &id, MultipartUpload: &types.CompletedMultipartUpload{},
		IfMatch: optional(cond.IfMatch), IfNoneMatch: absent(cond.IfAbsent),
	}
	var size int64
	for _, p := range slices.SortedFunc(slices.Values(parts), func(a, b Part) int { return a.Number - b.Number }) {
		in.MultipartUpload.Parts = append(in.MultipartUpload.Parts, types.CompletedPart{PartNumber: aws.Int32(int32(p.Number)), ETag: quote(p.ETag)})
		size += p.Size
	}
	mark, begunHere := b.writes.Load(id)
	written, _ := mark.(string)
	c := b.call("complete object", key)
	out, err := b.client.CompleteMultipartUpload(b.withPatience(ctx), in, c.options)
	var o Object
	switch {
	case err == nil && aws.ToString(out.ETag) != "":
		o = Object{Key: key, ETag: unquote(out.ETag), Size: size, Modified: answered(out.ResultMetadata)}
		// The answer has no size, date and metadata. Whoever wrote the key since then doesn't change what was completed.
		if now, headErr := b.Head(ctx, key); headErr == nil && now.ETag == o.ETag {
			o = now
		}
	case err == nil: // an answer without a body
		o, err = b.completed(ctx, key, written, parts, c.failed(ErrUnavailable, "the answer has no ETag"))
	default:
		unanswered := c.unanswered
		err = c.wrap(ctx, err)
		// The upload is gone when a request whose answer was lost has completed it, one of this call or of one before.
		if (unanswered || written != "") && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict)) {
			o, err = b.completed(ctx, key, written, parts, err)
		}
	}
	if err == nil && begunHere {
		b.writes.Delete(id)
	}
	return o, err
}

// completed tells whether the object is what an upload made of it. One that was begun elsewhere is known by its ETag.
func (b *Bucket) completed(ctx context.Context, key, written string, parts []Part, err error) (Object, error) {
	if written != "" {
		return b.own(ctx, key, written, err)
	}
	o, headErr := b.Head(ctx, key)
	if headErr == nil && o.ETag == joined(parts) {
		return o, nil
	}
	return Object{}, err
}

// Abort ends an upload and frees its parts; one that isn't there is no error.
func (b *Bucket) Abort(ctx context.Context, key, id string) error {
	c := b.call("end upload of object", key)
	_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: b.name(), Key: &key, UploadId: &id}, c.options)
	if err = c.wrap(ctx, err); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	b.writes.Delete(id)
	return nil
}

// joined is the ETag that Amazon S3 and most other stores give an object of parts: the MD5 of the parts' MD5s, and their number.
func joined(parts []Part) string {
	sum := md5.New()
	for _, p := range slices.SortedFunc(slices.Values(parts), func(a, b Part) int { return a.Number - b.Number }) {
		b, err := hex.DecodeString(p.ETag)
		if err != nil {
			return ""
		}
		sum.Write(b)
	}
	return fmt.Sprintf("%x-%d", sum.Sum(nil), len(parts))
}
