package usage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/strata-csi/strata/pkg/cold/usage"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

func TestMeasure(t *testing.T) {
	ctx, b := t.Context(), s3test.Start(t).Bucket(t)
	put := func(key string, size int) {
		if _, err := b.Put(ctx, key, strings.NewReader(strings.Repeat("x", size)), int64(size), s3.WriteOptions{}); err != nil {
			t.Error(err)
		}
	}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for n := range 140 { // more than a page
				put(fmt.Sprintf("v/%d/%d", i, n), 3)
			}
		})
	}
	wait.Wait()
	put("v/.strata/owner.json", 100)
	put("v/sub/.strata/data", 7)
	put("v2/data", 1000)
	put("empty", 0)
	for prefix, want := range map[string]usage.Usage{
		"v/":    {Bytes: 8*140*3 + 7, Objects: 8*140 + 1},
		"v2/":   {Bytes: 1000, Objects: 1},
		"none/": {},
		"":      {Bytes: 8*140*3 + 7 + 100 + 1000, Objects: 8*140 + 4},
	} {
		if got, err := usage.Measure(ctx, b, prefix); got != want || err != nil {
			t.Errorf("%q: %+v, %v; want %+v", prefix, got, err, want)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := usage.Measure(ended, b, "v/"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
