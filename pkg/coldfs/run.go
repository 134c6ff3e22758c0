package coldfs

// The life of an engine: what it is made of, in which order it begins, and how it ends.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/coldfs/device"
	"github.com/strata-csi/strata/pkg/coldfs/draft"
	"github.com/strata-csi/strata/pkg/coldfs/move"
	"github.com/strata-csi/strata/pkg/coldfs/nodes"
	"github.com/strata-csi/strata/pkg/coldfs/reading"
	"github.com/strata-csi/strata/pkg/s3"
)

const (
	// startLimit is how long the store may take for its first answer.
	startLimit = 60 * time.Second
	// endLimit is how long an engine that is told to end commits what is open.
	endLimit = 60 * time.Second
	// grace is how long a request goes on after its caller got a signal. Programs that are sampled by a profiler, and Go's, get signals all the time, and expect no EINTR of a file.
	grace = 3 * time.Second

	defaultMemory = 256 << 20
	minStaging    = 64 << 20
	maxStaging    = 4 << 30
)

// Options are what an engine starts with.
type Options struct {
	// Fuse is /dev/fuse, mounted and not yet read from.
	Fuse        *os.File
	Config      config.Config
	Credentials control.Credentials
	// Limits are usually left out.
	Limits Limits
	// Control is the engine's end of the holder's socket; nil: there is no holder.
	Control *os.File
	// Pauses have defaults, which a test shortens.
	Pauses Pauses
}

// Validate says what is wrong with a configuration.
func Validate(c config.Config) error {
	switch {
	case c.Store.Bucket == "":
		return errors.New("store.Bucket is missing")
	case c.Prefix != "" && (!strings.HasSuffix(c.Prefix, "/") || strings.HasPrefix(c.Prefix, "/")):
		return fmt.Errorf("prefix %q: it is empty, or begins without '/' and ends with one", c.Prefix)
	case c.CacheDir == "" || !filepath.IsAbs(c.CacheDir):
		return fmt.Errorf("cacheDir %q: it must be an absolute path", c.CacheDir)
	case c.MetadataTTL < 0:
		return fmt.Errorf("metadataTTL %v: it must not be negative", c.MetadataTTL)
	case c.DirMode&^0o7777 != 0 || c.FileMode&^0o7777 != 0:
		return fmt.Errorf("dirMode %o and fileMode %o: they are permission bits, at most 7777", c.DirMode, c.FileMode)
	}
	return nil
}

// ReadConfig reads a configuration. A setting that this engine doesn't know is an error: leaving it out could mean another volume.
func ReadConfig(file *os.File) (config.Config, error) {
	var c config.Config
	d := json.NewDecoder(file)
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return config.Config{}, fmt.Errorf("the configuration: %w", err)
	}
	return c, nil
}

// Run serves a volume until the mount is gone, or ctx ends: then it commits what is open, as far as it can, and returns; the process is to end with it, as requests may be waiting still. What keeps it from
// starting is told to the holder too.
func Run(ctx context.Context, o Options) error {
	l, err := newLink(o.Control, o.Credentials)
	if err != nil {
		return err
	}
	defer l.close()
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithValues("volume", o.Config.Volume))
	f, err := start(ctx, o, l)
	if err != nil {
		return errors.Join(err, l.say(control.Message{Failed: &control.Failure{Code: codeOf(err), Text: err.Error()}}))
	}
	defer f.close()
	disabled := uint64(fuse.CAP_PASSTHROUGH)
	if f.wantsThrough() && l.conn != nil {
		disabled = 0 // a file system may be stacked on this one once less then
	}
	server := device.New(o.Fuse, f, device.Options{
		Fuse: fuse.MountOptions{
			// 64 requests of the kernel's readahead and writeback; those of programs aren't bounded by it.
			MaxBackground: 64, MaxReadAhead: device.MaxWrite, DisableXAttrs: true,
			// The kernel's pages are of one version, and the engine knows when it isn't that any more.
			ExplicitDataCacheControl: true,
			ExtraCapabilities:        fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_ASYNC_DIO,
			DisabledCapabilities:     disabled,
			Logger:                   log.New(lines{klog.FromContext(ctx)}, "", 0),
		},
		SaveInit: func(request []byte) error { return l.say(control.Message{Init: request}) },
		Grace:    grace,
		Limits:   f.limits.Requests,
		Observe:  f.metrics.observe,
	})
	if err := server.Start(ctx); err != nil {
		return errors.Join(err, l.say(control.Message{Failed: &control.Failure{Code: control.CodeFailed, Text: err.Error()}}))
	}
	if err := l.say(control.Message{Ready: true}); err != nil {
		return err
	}
	f.log.Info("Serving", "bucket", o.Config.Store.Bucket, "prefix", o.Config.Prefix, "readOnly", o.Config.ReadOnly)
	return f.serve(ctx, server, l)
}

// start makes everything that a file system needs.
func start(ctx context.Context, o Options, l *link) (*FS, error) {
	c := o.Config
	if err := Validate(c); err != nil {
		return nil, fmt.Errorf("%w: %w", s3.ErrInvalid, err)
	}
	if c.MemoryLimit == 0 {
		c.MemoryLimit = defaultMemory
	}
	// The rest is for what isn't Go's heap: stacks of threads, mapped indices.
	debug.SetMemoryLimit(c.MemoryLimit / 8 * 7)
	bucket, err := s3.Open(c.Store, l.provider, s3.Options{})
	if err != nil {
		return nil, err
	}
	first, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	// It is what every lookup asks, so who may not list can't use the volume.
	if _, err := bucket.List(first, s3.ListRequest{Prefix: c.Prefix, Max: 1}); err != nil {
		return nil, err
	}
	f := &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), config: c, bucket: bucket, log: klog.FromContext(ctx), health: newHealth(),
		usage: &usage{enforce: c.EnforceQuota, capacity: c.Capacity}, stale: make(chan staleName, 1024), metrics: newMetrics(),
		commits: context.WithoutCancel(ctx), limits: o.Limits.withDefaults(), crowded: make(chan struct{}, 1), pauses: o.Pauses.withDefaults(),
	}
	f.handles.limit = f.limits.Handles
	f.table = nodes.New(&inode{dir: true, attr: f.fallback(true, began), kept: true})
	if err := f.equip(first, c); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// equip makes what reads and writes.
func (f *FS) equip(ctx context.Context, c config.Config) (err error) {
	if f.cache, err = blockcache.Open(blockcache.Options{
		Dir: filepath.Join(c.CacheDir, "blocks"), Limit: c.CacheLimit, Reserve: c.CacheReserve, Volume: c.Volume, Share: c.CacheShare, BlockSize: c.BlockSize,
	}); err != nil {
		return err
	}
	f.reader = reading.New(reading.Options{Source: f.bucket, Endpoint: c.Store.Endpoint, Bucket: c.Store.Bucket, Cache: f.cache, Memory: c.MemoryLimit / 8 * 3})
	if c.ReadOnly {
		return nil
	}
	obeyed, err := draft.Conditional(ctx, f.bucket, c.Prefix+reserved+"/probes/"+rand.Text())
	if err != nil {
		// Who may only read has a use for the volume too.
		f.log.Error(err, "It isn't known whether the store obeys conditions of writes; it is taken to")
		obeyed = true
	} else if !obeyed {
		f.log.Info("The store doesn't obey conditions of writes: of two clients that write a file at the same moment, one may lose its write without an error")
	}
	node, err := nodeOf(c.CacheDir)
	if err != nil {
		return err
	}
	if f.drafts, err = draft.NewStore(draft.Options{
		Bucket: f.bucket, Owner: c.Volume, Dir: filepath.Join(c.CacheDir, "staged"), Limit: min(maxStaging, max(minStaging, c.CacheLimit/4)), Reserve: c.CacheReserve, Free: f.cache.Free,
		Content: func(o s3.Object) draft.Content { return f.reader.Open(o) }, NoConditions: !obeyed, StorageClass: c.StorageClass, SSE: c.SSE, Logger: f.log,
	}); err != nil {
		return err
	}
	f.mover, err = move.New(move.Options{
		Bucket: f.bucket, Prefix: c.Prefix, Owner: c.Volume + " on " + node, NoConditions: !obeyed, StorageClass: c.StorageClass, SSE: c.SSE, Logger: f.log,
	})
	return err
}

// nodeOf is a name for the node that nobody else has: it is made up once and kept beside the cache.
func nodeOf(dir string) (string, error) {
	path := filepath.Join(dir, "node")
	for {
		raw, err := os.ReadFile(path)
		if err == nil && len(raw) > 0 {
			return string(raw), nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		// Whole or not at all, and only by one of several engines that start at once.
		mine := path + "." + rand.Text()
		if err := os.WriteFile(mine, []byte(rand.Text()), 0o600); err != nil {
			return "", err
		}
		err = os.Link(mine, path)
		if err = errors.Join(os.Remove(mine), ignore(err, os.ErrExist)); err != nil {
			return "", err
		}
	}
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// close ends what start made. What isn't committed is thrown away.
func (f *FS) close() {
	if f.drafts != nil {
		f.drafts.Close()
	}
	if f.reader != nil {
		f.reader.Close()
	}
	if f.cache != nil {
		f.cache.Close()
	}
	f.bucket.Close()
}

// serve serves until the mount is gone or ctx ends.
func (f *FS) serve(ctx context.Context, server *device.Server, l *link) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	f.beginThrough(serving, l, server.Passthrough())
	var group errgroup.Group
	background := func(do func()) { group.Go(func() error { do(); return nil }) }
	if !f.config.ReadOnly {
		background(func() {
			if err := f.mover.Resume(serving); err != nil && serving.Err() == nil {
				f.log.Error(err, "A renaming of a directory that was broken off can't be finished; it is tried again when the engine starts again")
			}
		})
	}
	background(func() { f.watch(serving) })
	background(func() { f.usage.run(serving, f.bucket, f.config.Prefix, f.pauses, f.watchListing) })
	background(func() { f.usage.follow(serving, f.pauses.Capacity, f.capacity, f.watchQuota) })
	background(func() { f.forgetStale(serving, server) })
	background(func() { f.trim(serving, func(parent *node, name string) { f.forget(server, parent.ID, name) }) })
	background(func() { f.report(serving, l) })
	background(func() { f.tellMetrics(serving, l) })
	go l.listen(serving, func(ctx context.Context) {
		if err := f.flushAll(ctx); err != nil {
			f.log.Error(err, "Not all open files could be committed")
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve() }()
	var err error
	select {
	case err = <-ended:
		f.log.Info("The mount is gone")
	case <-ctx.Done():
		flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
		defer cancel()
		if err = f.flushAll(flushing); err != nil {
			err = fmt.Errorf("not all open files could be committed: %w", err)
		}
	}
	stop()
	_ = group.Wait()
	return err
}

// report tells the holder what is wrong, when it changes.
func (f *FS) report(ctx context.Context, l *link) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.health.changed:
		}
		now := f.health.now()
		if err := l.say(control.Message{Health: &now}); err != nil {
			f.log.Error(err, "The holder isn't told what is wrong with the volume")
		}
		for _, c := range now.Conditions {
			f.log.Info("The volume isn't well", "reason", c.Reason, "cause", c.Text)
		}
		if len(now.Conditions) == 0 {
			f.log.Info("The volume is well again")
		}
	}
}

// forgetStale has the kernel forget names. It waits for locks that requests hold, so it is nobody's but this goroutine's.
func (f *FS) forgetStale(ctx context.Context, server *device.Server) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-f.stale:
			f.forget(server, s.parent, s.name)
		}
	}
}

func (f *FS) forget(server *device.Server, parent uint64, name string) {
	if err := server.InvalidateEntry(parent, name); err != nil {
		f.log.V(2).Info("The kernel doesn't forget a name", "name", name, "cause", err.Error())
	}
}

// capacity is what the owner marker of the volume says, which is written anew when a claim grows; 0: it has none.
func (f *FS) capacity(ctx context.Context) int64 {
	m, _, err := marker.Read(ctx, f.bucket, f.config.Prefix)
	if err != nil {
		return 0
	}
	return m.Capacity
}

func codeOf(err error) string {
	switch {
	case errors.Is(err, s3.ErrDenied):
		return control.CodeDenied
	case errors.Is(err, s3.ErrNoBucket), errors.Is(err, s3.ErrNotFound):
		return control.CodeNotFound
	case errors.Is(err, s3.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return control.CodeUnreachable
	case errors.Is(err, s3.ErrInvalid):
		return control.CodeInvalid
	}
	return control.CodeFailed
}

// lines logs what go-fuse prints.
type lines struct{ log klog.Logger }

func (l lines) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	if strings.HasPrefix(text, "panic") {
		l.log.Error(nil, "A request made the engine panic; it was answered EIO", "cause", text)
	} else {
		l.log.V(2).Info("FUSE", "message", text)
	}
	return len(p), nil
}
