package draft

// Whether a store obeys conditions, found out by trying: not all do (Ceph's radosgw 16 completes an upload whatever the condition), and none says so.

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/strata-csi/strata/pkg/s3"
)

// Conditional tells whether the store refuses a Put and a Complete whose condition isn't met. It makes an object under key, which must be nobody's, and removes it.
func Conditional(ctx context.Context, b *s3.Bucket, key string) (obeyed bool, err error) {
	fail := func(err error) (bool, error) {
		return false, fmt.Errorf("find out whether the store obeys conditions: %w", err)
	}
	put := func(c s3.Condition) error {
		_, err := b.Put(ctx, key, bytes.NewReader([]byte("probe")), 5, s3.WriteOptions{Condition: c})
		return err
	}
	if err := put(s3.Condition{}); err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, b.Delete(context.WithoutCancel(ctx), key)) }()

	id, err := b.CreateUpload(ctx, key, s3.WriteOptions{})
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, b.Abort(context.WithoutCancel(ctx), key, id)) }()
	part, err := b.UploadPart(ctx, key, id, 1, bytes.NewReader([]byte("probe")), 5)
	if err != nil {
		return fail(err)
	}
	for _, attempt := range []func() error{
		func() error { return put(s3.Condition{IfAbsent: true}) },
		func() error { return put(s3.Condition{IfMatch: "00000000000000000000000000000000"}) },
		func() error {
			_, err := b.Complete(ctx, key, id, []s3.Part{part}, s3.Condition{IfAbsent: true})
			return err
		},
		func() error {
			_, err := b.Complete(ctx, key, id, []s3.Part{part}, s3.Condition{IfMatch: "00000000000000000000000000000000"})
			return err
		},
	} {
		switch err := attempt(); {
		case err == nil, errors.Is(err, s3.ErrInvalid): // written all the same, or the store doesn't take conditions
			return false, nil
		case !errors.Is(err, s3.ErrConflict):
			return fail(err)
		}
	}
	return true, nil
}
