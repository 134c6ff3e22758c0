package s3

// Listing objects and uploads. Names of objects are asked for in their encoded form: XML has no way to write most control characters, and names may have them.

import (
	"context"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// ListRequest asks for a page of a listing.
type ListRequest struct {
	Prefix    string
	Delimiter string // "" or "/"
	After     string // only keys behind this one; not together with Token
	Token     string // Page.Next of the page before
	Max       int    // 1 to 1000; 0: 1000
}

// List returns one page.
func (b *Bucket) List(ctx context.Context, r ListRequest) (Page, error) {
	in := &s3.ListObjectsV2Input{
		Bucket: b.name(), Prefix: optional(r.Prefix), Delimiter: optional(r.Delimiter),
		StartAfter: optional(r.After), ContinuationToken: optional(r.Token), EncodingType: types.EncodingTypeUrl,
	}
	if r.Max > 0 {
		in.MaxKeys = aws.Int32(int32(min(r.Max, 1000)))
	}
	c := b.call("list objects below", r.Prefix)
	out, err := b.client.ListObjectsV2(ctx, in, c.options)
	if err != nil {
		return Page{}, c.wrap(ctx, err)
	}
	decode := decoder(out.EncodingType)
	p := Page{}
	if aws.ToBool(out.IsTruncated) {
		p.Next = aws.ToString(out.NextContinuationToken)
		if p.Next == "" {
			return Page{}, c.failed(ErrUnavailable, "the listing goes on, but the answer doesn't say where")
		}
	}
	for _, o := range out.Contents {
		key, err := decode(o.Key)
		if err != nil {
			return Page{}, c.failed(ErrUnavailable, err.Error())
		}
		p.Objects = append(p.Objects, Object{Key: key, Size: aws.ToInt64(o.Size), ETag: unquote(o.ETag), Modified: aws.ToTime(o.LastModified)})
	}
	for _, o := range out.CommonPrefixes {
		prefix, err := decode(o.Prefix)
		if err != nil {
			return Page{}, c.failed(ErrUnavailable, err.Error())
		}
		p.Prefixes = append(p.Prefixes, prefix)
	}
	return p, nil
}

// Uploads lists unfinished uploads below a prefix. Their names are not asked for in encoded form: radosgw 16 encodes them and doesn't say so, where others don't. CreateUpload refuses what
// XML can't have.
func (b *Bucket) Uploads(ctx context.Context, prefix string) ([]Upload, error) {
	in := &s3.ListMultipartUploadsInput{Bucket: b.name(), Prefix: optional(prefix)}
	var all []Upload
	for {
		c := b.call("list uploads below", prefix)
		out, err := b.client.ListMultipartUploads(ctx, in, c.options)
		if err != nil {
			return nil, c.wrap(ctx, err)
		}
		for _, u := range out.Uploads {
			all = append(all, Upload{Key: aws.ToString(u.Key), ID: aws.ToString(u.UploadId), Begun: aws.ToTime(u.Initiated)})
		}
		if !aws.ToBool(out.IsTruncated) {
			return all, nil
		}
		next := aws.ToString(out.NextKeyMarker)
		if next == "" || next == aws.ToString(in.KeyMarker) && aws.ToString(out.NextUploadIdMarker) == aws.ToString(in.UploadIdMarker) {
			return nil, c.failed(ErrUnavailable, "the listing goes on, but the answer doesn't say where")
		}
		in.KeyMarker, in.UploadIdMarker = &next, out.NextUploadIdMarker
	}
}

// decoder reads names as the answer says that they are written.
func decoder(e types.EncodingType) func(*string) (string, error) {
	if e != types.EncodingTypeUrl {
		return func(s *string) (string, error) { return aws.ToString(s), nil }
	}
	return func(s *string) (string, error) { return url.QueryUnescape(aws.ToString(s)) }
}

// optional is nil for "": an empty parameter isn't sent.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
