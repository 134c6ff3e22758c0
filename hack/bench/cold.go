package main

// Tier cold beside other clients with a mount and a cache, and beside a client without a file system, on one S3 server.

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// coldBucket has everything; keysDir in it the many keys that are listed.
const (
	coldBucket = "bench"
	keysDir    = "keys"
	largeFile  = "large"
	smallDir   = "small"
	smallSize  = 4 << 10
	keySize    = 100
)

// coldPlan is how much of tier cold is measured.
type coldPlan struct {
	large       int64 // bytes
	small, keys int   // files
	random      time.Duration
}

// coldSide is one of what is compared.
type coldSide int

const (
	ordinary coldSide = iota
	immutable
	rclone
	s3fs
	raw
)

var coldNames = []string{ordinary: "Strata", immutable: "Strata, immutable", rclone: "rclone", s3fs: "s3fs", raw: "raw client"}

// coldDirs begin the names of what each makes.
var coldDirs = []string{ordinary: "strata", immutable: "immutable", rclone: "rclone", s3fs: "s3fs", raw: "raw"}

// coldFigure is a row of what was measured. The rates of its sides are in its unit.
type coldFigure struct {
	*figure
	of []coldSide // of each side
	// The aims, 0 for none: at least so many times the best peer's rate, at least so much of the raw client's, and at most so many times the raw client's time.
	peerAim, rawAim, timeAim float64
}

func newColdFigure(name, unit string, of ...coldSide) *coldFigure {
	var names []string
	for _, s := range of {
		names = append(names, coldNames[s])
	}
	return &coldFigure{figure: newFigure(name, 1, unit, names...), of: of}
}

// coldRows are all that is measured, in the order of the tables.
type coldRows struct {
	write, read, again, disk, remounted, random *coldFigure
	create, list, stat, later, fetch, keys      *coldFigure
}

func newColdRows(p coldPlan) coldRows {
	small := fmt.Sprintf("%d files of 4 KiB", p.small)
	r := coldRows{
		write:     newColdFigure("sequential durable write", "MB/s", ordinary, rclone, s3fs, raw),
		read:      newColdFigure("cold sequential read", "MB/s", ordinary, rclone, s3fs, raw),
		again:     newColdFigure("re-read, same mount", "MB/s", ordinary, immutable, rclone, s3fs),
		disk:      newColdFigure("re-read, new mount, cache not in memory", "MB/s", ordinary, immutable, rclone, s3fs),
		remounted: newColdFigure("re-read, new mount", "MB/s", ordinary, immutable, rclone, s3fs),
		random:    newColdFigure("random read, 4 KiB, warm", "IOPS", ordinary, immutable, rclone, s3fs),
		create:    newColdFigure(small+": create", "files/s", ordinary, rclone, s3fs, raw),
		list:      newColdFigure(small+": list", "files/s", ordinary, rclone, s3fs, raw),
		stat:      newColdFigure(small+": list and stat", "files/s", ordinary, rclone, s3fs, raw),
		later:     newColdFigure(small+": list all, then stat", "files/s", ordinary, rclone, s3fs, raw),
		fetch:     newColdFigure(small+": read, cold", "files/s", ordinary, rclone, s3fs, raw),
		keys:      newColdFigure(fmt.Sprintf("list and stat of %d keys", p.keys), "keys/s", ordinary, rclone, s3fs, raw),
	}
	r.read.peerAim, r.read.rawAim = 1.5, 0.6
	r.again.peerAim, r.remounted.peerAim, r.random.peerAim = 4, 4, 10
	r.write.peerAim, r.keys.timeAim = 1.5, 1.2
	return r
}

func (r coldRows) all() []*coldFigure {
	return []*coldFigure{r.write, r.read, r.again, r.remounted, r.disk, r.random, r.create, r.list, r.stat, r.later, r.fetch, r.keys}
}

// coldRun is the part under way.
type coldRun struct {
	*bench
	coldRows
	coldPlan
	raw     *rawClient
	clients map[coldSide]coldClient
	mounted map[coldSide]bool
	peak    map[coldSide]int64 // bytes
}

// cold measures the part. The programs are built.
func (b *bench) cold(ctx context.Context) (*coldRun, error) {
	c, err := b.prepareColdRun(ctx)
	if err != nil {
		return nil, err
	}
	defer c.raw.Close()
	if err := b.rounds(ctx, partCold, c.round); err != nil {
		return nil, err
	}
	for side := range c.clients {
		if err := c.unmount(ctx, side); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// prepareColdRun starts the server and the clients, and fills the directory of the many keys.
func (b *bench) prepareColdRun(ctx context.Context) (*coldRun, error) {
	program, err := s3test.Build()
	if err != nil {
		return nil, fmt.Errorf("building the S3 server: %w", err)
	}
	server, err := b.StartS3(ctx, program)
	if err != nil {
		return nil, err
	}
	node, err := b.StartColdNode(ctx, "node-cold", coldCache)
	if err != nil {
		return nil, err
	}
	c := &coldRun{bench: b, coldPlan: b.plan.cold, coldRows: newColdRows(b.plan.cold), raw: &rawClient{content: make([]byte, rawPart)},
		mounted: map[coldSide]bool{}, peak: map[coldSide]int64{}}
	_, _ = rand.Read(c.raw.content) // never an error
	if c.raw.Bucket, err = server.Open(coldBucket); err != nil {
		return nil, err
	}
	if err := c.raw.Create(ctx); err != nil {
		return nil, err
	}
	rclones, err := b.newRclone(server)
	if err != nil {
		return nil, err
	}
	s3fses, err := b.newS3fs(server)
	if err != nil {
		return nil, err
	}
	c.clients = map[coldSide]coldClient{
		ordinary:  &strataClient{node, server.ColdVolume("ordinary", coldBucket, nil), "ordinary"},
		immutable: &strataClient{node, server.ColdVolume("immutable", coldBucket, map[string]string{"immutable": "true"}), "immutable"},
		rclone:    rclones,
		s3fs:      s3fses,
	}
	b.Step("cold: making %d objects", c.coldPlan.keys)
	return c, c.raw.put(ctx, keysDir+"/", c.coldPlan.keys, keySize)
}
