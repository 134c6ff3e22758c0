package main

// A volume that is a prefix of an S3 bucket.

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-csi/strata/hack/stack"
	"github.com/strata-csi/strata/pkg/s3"
)

const (
	checkpoint = "run-1/checkpoint.pt"
	archive    = "archive"
)

// cold writes a checkpoint on one node and reads it on the other, and with a plain S3 client.
func (d *demo) cold(ctx context.Context) error {
	bucket, err := d.OpenBucket(ctx)
	if err != nil {
		return err
	}
	defer bucket.Close()
	request, err := d.ColdRequest("team-archive", "vision", volumeSize)
	if err != nil {
		return err
	}
	resp, err := d.Controller.CreateVolume(ctx, request)
	if err != nil {
		return err
	}
	v := resp.GetVolume()
	d.did("cold volume", "%s on the S3 gateway", v.GetVolumeId())
	a, b := d.Nodes[0], d.Nodes[1]
	for _, n := range d.Nodes {
		if err := n.Mount(ctx, v, archive, stack.Shared); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(a.Target(archive), filepath.Dir(checkpoint)), 0o755); err != nil {
		return err
	}
	wrote, speed, err := write(filepath.Join(a.Target(archive), checkpoint), dataSize)
	if err != nil {
		return err
	}
	d.did("checkpoint", "%d MiB on %s, complete in the bucket when it was closed: %.0f MB/s", dataSize/mib, a.Name, speed)
	for _, again := range []string{"read on " + b.Name, "read again"} {
		got, speed, err := read(filepath.Join(b.Target(archive), checkpoint))
		if err != nil {
			return err
		}
		if got != wrote {
			return errors.New("what was read on one node is not what was written on the other")
		}
		d.did(again, "same SHA-256: %.0f MB/s", speed)
	}
	got, speed, err := fetch(ctx, bucket, v.GetVolumeContext()["prefix"]+checkpoint)
	if err != nil {
		return err
	}
	if got != wrote {
		return errors.New("what is in the bucket is not what was written")
	}
	d.did("with a plain S3 client", "object %s, same SHA-256: %.0f MB/s", v.GetVolumeContext()["prefix"]+checkpoint, speed)
	for _, n := range d.Nodes {
		if err := n.Unmount(ctx, v, archive); err != nil {
			return err
		}
	}
	if err := d.DeleteCold(ctx, v); err != nil {
		return err
	}
	page, err := bucket.List(ctx, s3.ListRequest{})
	if err != nil {
		return err
	}
	if len(page.Objects) > 0 {
		return fmt.Errorf("%d objects are left in the bucket, %s among them", len(page.Objects), page.Objects[0].Key)
	}
	d.did("cold volume deleted", "the bucket is empty")
	return nil
}

// fetch reads an object with one request.
func fetch(ctx context.Context, b *s3.Bucket, key string) (string, float64, error) {
	o, err := b.Head(ctx, key)
	if err != nil {
		return "", 0, err
	}
	start := time.Now()
	body, err := b.Get(ctx, key, o.ETag, 0, o.Size)
	if err != nil {
		return "", 0, err
	}
	defer body.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, body)
	return fmt.Sprintf("%x", sum.Sum(nil)), rate(n, time.Since(start)), err
}
