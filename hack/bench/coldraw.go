package main

// The raw client of part cold: 16 requests at once, and no file system. It is what the network and the server give.

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/strata-csi/strata/pkg/s3"
)

// rawWays is how many requests the raw client has at once, rawPart what each of a large file is about.
const (
	rawWays = 16
	rawPart = 8 * mib
)

type rawClient struct {
	*s3.Bucket
	content []byte // rawPart random bytes, which every file consists of
}

// parts are the offsets and lengths of a large file's parts.
func parts(size int64) [][2]int64 {
	var all [][2]int64
	for off := int64(0); off < size; off += rawPart {
		all = append(all, [2]int64{off, min(rawPart, size-off)})
	}
	return all
}

// write uploads a large file in parts.
func (c *rawClient) write(ctx context.Context, key string, size int64) error {
	id, err := c.CreateUpload(ctx, key, s3.WriteOptions{})
	if err != nil {
		return err
	}
	all := parts(size)
	sent := make([]s3.Part, len(all))
	if err := eachOf(ctx, len(all), func(ctx context.Context, i int) (err error) {
		n := all[i][1]
		sent[i], err = c.UploadPart(ctx, key, id, i+1, bytes.NewReader(c.content[:n]), n)
		return err
	}); err != nil {
		return err
	}
	_, err = c.Complete(ctx, key, id, sent, s3.Condition{})
	return err
}

// read reads a large file in ranges.
func (c *rawClient) read(ctx context.Context, key string, size int64) error {
	o, err := c.Head(ctx, key)
	if err != nil {
		return err
	}
	if o.Size != size {
		return fmt.Errorf("%s has %d bytes, not %d", key, o.Size, size)
	}
	all := parts(size)
	buffers := sync.Pool{New: func() any { return new([mib]byte) }}
	return eachOf(ctx, len(all), func(ctx context.Context, i int) error {
		body, err := c.Get(ctx, key, o.ETag, all[i][0], all[i][1])
		if err != nil {
			return err
		}
		defer body.Close()
		buffer := buffers.Get().(*[mib]byte)
		defer buffers.Put(buffer)
		_, err = io.CopyBuffer(onlyWriter{io.Discard}, body, buffer[:])
		return err
	})
}

// onlyWriter hides that io.Discard would rather read by itself, in small pieces.
type onlyWriter struct{ io.Writer }

// put makes count small files.
func (c *rawClient) put(ctx context.Context, prefix string, count int, size int64) error {
	return eachOf(ctx, count, func(ctx context.Context, i int) error {
		_, err := c.Put(ctx, prefix+fileName(i), bytes.NewReader(c.content[:size]), size, s3.WriteOptions{})
		return err
	})
}

// get reads small files.
func (c *rawClient) get(ctx context.Context, prefix string, count int, size int64) error {
	return eachOf(ctx, count, func(ctx context.Context, i int) error {
		body, err := c.Get(ctx, prefix+fileName(i), "", 0, size)
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.Copy(io.Discard, body)
		return err
	})
}

// list lists what is below a prefix, in pages of 1000, and tells how many of the objects have the size.
func (c *rawClient) list(ctx context.Context, prefix string, size int64) (count int, err error) {
	request := s3.ListRequest{Prefix: prefix, Delimiter: "/"}
	for {
		page, err := c.List(ctx, request)
		if err != nil {
			return 0, err
		}
		for _, o := range page.Objects {
			if o.Size == size {
				count++
			}
		}
		if page.Next == "" {
			return count, nil
		}
		request.Token = page.Next
	}
}

// eachOf does operations 0 to count-1, rawWays at once.
func eachOf(ctx context.Context, count int, operation func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(rawWays)
	for i := range count {
		group.Go(func() error { return operation(ctx, i) })
	}
	return group.Wait()
}

// fileName is the name of a small file.
func fileName(i int) string { return fmt.Sprintf("sample-%05d", i) }
