// Package usage measures what a volume of the cold tier holds. A store has no such number: all keys are listed, a request for each 1,000 of them.
package usage

import (
	"context"
	"strings"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/s3"
)

// Usage is what a volume holds. What is Strata's own and unfinished uploads don't count.
type Usage struct {
	Bytes   int64
	Objects int64
}

// Lister lists objects: *s3.Bucket.
type Lister interface {
	List(ctx context.Context, r s3.ListRequest) (s3.Page, error)
}

// Measure lists all objects below prefix ("", or ending with '/'). It takes as long as the listing does.
func Measure(ctx context.Context, l Lister, prefix string) (Usage, error) {
	var u Usage
	r := s3.ListRequest{Prefix: prefix}
	for {
		page, err := l.List(ctx, r)
		if err != nil {
			return Usage{}, err
		}
		for _, o := range page.Objects {
			if strings.HasPrefix(o.Key, prefix+marker.Directory) {
				continue
			}
			u.Objects++
			u.Bytes += o.Size
		}
		if page.Next == "" {
			return u, nil
		}
		r.Token = page.Next
	}
}
