package draft

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/strata-csi/strata/pkg/s3"
)

// How fast a file is written until it is an object, beside the parts alone: the same bytes from memory, 16 at once.
func BenchmarkDurableWriteOf256MiB(b *testing.B) {
	r := newRemote(b)
	content := random(1, 256*mib)
	b.Run("draft", func(b *testing.B) {
		s := r.store(b, func(o *Options) { o.Bucket = r.b })
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			d := open(b, s, "draft", nil)
			write(b, d, content, 0)
			if _, err := d.Commit(b.Context()); err != nil {
				b.Fatal(err)
			}
			d.Close()
			if err := r.b.Delete(b.Context(), d.Key()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			id, err := r.b.CreateUpload(b.Context(), "raw", s3.WriteOptions{})
			if err != nil {
				b.Fatal(err)
			}
			parts := make([]s3.Part, len(content)/firstPart)
			var g errgroup.Group
			g.SetLimit(16)
			for i := range parts {
				g.Go(func() (err error) {
					body := io.NewSectionReader(bytes.NewReader(content), int64(i)*firstPart, firstPart)
					parts[i], err = r.b.UploadPart(b.Context(), "raw", id, i+1, body, firstPart)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
			if _, err := r.b.Complete(b.Context(), "raw", id, parts, s3.Condition{}); err != nil {
				b.Fatal(err)
			}
			if err := r.b.Delete(b.Context(), "raw"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// 1000 files of 4 KiB, each committed, beside as many requests.
func BenchmarkDurableWriteOf1000SmallFiles(b *testing.B) {
	r := newRemote(b)
	content := random(1, 4096)
	s := r.store(b, func(o *Options) { o.Bucket = r.b })
	many := func(b *testing.B, parallel int, f func(key string) error) {
		for b.Loop() {
			var g errgroup.Group
			g.SetLimit(parallel)
			for i := range 1000 {
				g.Go(func() error { return f(fmt.Sprint("small", i)) })
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
			var keys []string
			for i := range 1000 {
				keys = append(keys, fmt.Sprint("small", i))
			}
			if err := r.b.DeleteMany(b.Context(), keys); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, parallel := range []int{1, 16} {
		b.Run(fmt.Sprintf("draft/%d", parallel), func(b *testing.B) {
			many(b, parallel, func(key string) error {
				d, err := s.Open(key, nil)
				if err != nil {
					return err
				}
				defer d.Close()
				if _, err := d.WriteAt(b.Context(), content, 0); err != nil {
					return err
				}
				_, err = d.Commit(b.Context())
				return err
			})
		})
		b.Run(fmt.Sprintf("raw/%d", parallel), func(b *testing.B) {
			many(b, parallel, func(key string) error {
				_, err := r.b.Put(b.Context(), key, bytes.NewReader(content), int64(len(content)), s3.WriteOptions{Condition: s3.Condition{IfAbsent: true}})
				return err
			})
		})
	}
}

// A line appended and made durable, at different sizes of the log: what S3 makes of it.
func BenchmarkLineAppendedToALog(b *testing.B) {
	r := newRemote(b)
	s := r.store(b, func(o *Options) { o.Bucket = r.b })
	line := bytes.Repeat([]byte("x"), 100)
	for _, size := range []int{0, 4 * mib, 64 * mib, 256 * mib} {
		b.Run(fmt.Sprintf("%dMiB", size/mib), func(b *testing.B) {
			d, err := s.Open("log", r.put(b, "log", random(1, size)))
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			before := s.Stats()
			for b.Loop() {
				if _, err := d.WriteAt(b.Context(), line, d.Size()); err != nil {
					b.Fatal(err)
				}
				if _, err := d.Commit(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			after := s.Stats()
			b.ReportMetric(float64(after.Uploaded-before.Uploaded)/float64(after.Commits-before.Commits), "sent-B/line")
			b.ReportMetric(float64(after.Copied-before.Copied)/float64(after.Commits-before.Commits), "copied-B/line")
		})
	}
}
