package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/volume"
)

// MaxAge is how old a report may be before its node counts as silent: several times as long as a Writer takes to the next.
const MaxAge = 5 * time.Minute

const (
	// cached is how long one look at the directory serves: a controller asks once for every node and class.
	cached = 2 * time.Second
	// maxFile is more than a report of hundreds of classes has.
	maxFile = 1 << 20
)

// Reader is the Source of a directory of reports. A file that can't be used, because it is old or is no report, hides its node and
// no other; that is logged once.
type Reader struct {
	dir    string
	maxAge time.Duration
	cached time.Duration
	log    klog.Logger

	mu      sync.Mutex
	reading chan struct{} // closed when the look that runs has ended; nil: none runs
	at      time.Time     // of the last look
	reports []Report
	err     error
	said    map[string]string // by file name: what was logged of it
}

var _ Source = (*Reader)(nil)

// NewReader reads reports that are at most maxAge old, by the clocks of both machines; one that comes from the future by as much
// isn't used either.
func NewReader(log klog.Logger, dir string, maxAge time.Duration) *Reader {
	return &Reader{dir: dir, maxAge: maxAge, cached: cached, log: log, said: map[string]string{}}
}

// Reports returns the usable reports as they were at most 2 seconds ago. When the directory can't be read the error wraps
// volume.ErrUnavailable, and when it doesn't answer before ctx ends, as an NFS server that is down, volume.ErrDeadline.
func (r *Reader) Reports(ctx context.Context) ([]Report, error) {
	r.mu.Lock()
	if r.reading == nil && !r.at.IsZero() && time.Since(r.at) < r.cached {
		defer r.mu.Unlock()
		return slices.Clone(r.reports), r.err
	}
	if r.reading == nil {
		r.reading = make(chan struct{})
		go r.look()
	}
	reading := r.reading
	r.mu.Unlock()
	select {
	case <-reading:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: the scratch reports in %s: %w", volume.ErrDeadline, r.dir, context.Cause(ctx))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.reports), r.err
}

// look reads the directory. It may hang with it; only one ever does.
func (r *Reader) look() {
	reports, problems, err := readDir(r.dir, r.maxAge)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.say(problems, err)
	r.reports, r.err, r.at = reports, err, time.Now()
	close(r.reading)
	r.reading = nil
}

// problem is why a file isn't used.
type problem struct {
	kind string // the same as long as nothing changes
	err  error
}

// say logs what is new.
func (r *Reader) say(problems map[string]problem, err error) {
	if err != nil {
		return // the caller is told
	}
	for name, p := range problems {
		if r.said[name] != p.kind {
			r.log.Error(p.err, "A scratch report is not used; its node gets no new volumes by it", "file", name)
		}
		r.said[name] = p.kind
	}
	for name := range r.said {
		if _, still := problems[name]; !still {
			r.log.Info("The scratch report is used again, or gone", "file", name)
			delete(r.said, name)
		}
	}
}

func readDir(dir string, maxAge time.Duration) ([]Report, map[string]problem, error) {
	fail := func(err error) ([]Report, map[string]problem, error) {
		return nil, nil, fmt.Errorf("%w: directory of scratch reports: %w", volume.ErrUnavailable, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fail(err)
	}
	defer root.Close()
	d, err := root.Open(".")
	if err != nil {
		return fail(err)
	}
	names, err := d.Readdirnames(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return fail(err)
	}
	slices.Sort(names)
	var reports []Report
	problems := map[string]problem{}
	for _, name := range names {
		if strings.HasPrefix(name, ".") || !strings.HasSuffix(name, suffix) {
			continue
		}
		rep, err := readFile(root, name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			problems[name] = problem{"unreadable", err}
			continue
		}
		switch age := time.Since(rep.Time); {
		case age > maxAge:
			problems[name] = problem{"old", fmt.Errorf("node %s reported last at %s, %s ago; older than %s isn't used: look whether its strata-node runs, "+
				"and remove the file if the node is gone", rep.Node, rep.Time.Format(time.RFC3339), age.Round(time.Second), maxAge)}
		case age < -maxAge:
			problems[name] = problem{"future", fmt.Errorf("node %s reported at %s, which is %s from now: set its clock, or this machine's",
				rep.Node, rep.Time.Format(time.RFC3339), -age.Round(time.Second))}
		default:
			reports = append(reports, rep)
		}
	}
	return reports, problems, nil
}

// readFile reads one report. Others can write in the directory: nothing but a regular file of bounded size is read, and a file speaks
// for the node that it is named after alone.
func readFile(root *os.Root, name string) (Report, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return Report{}, err
	}
	if !info.Mode().IsRegular() {
		return Report{}, fmt.Errorf("%w: %s is not a regular file", volume.ErrInvalid, name)
	}
	f, err := root.Open(name)
	if err != nil {
		return Report{}, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return Report{}, err
	}
	if len(raw) > maxFile {
		return Report{}, fmt.Errorf("%w: %s has more than %d bytes", volume.ErrInvalid, name, maxFile)
	}
	r, err := decode(raw)
	if err != nil {
		return Report{}, fmt.Errorf("%s is no report: %w", name, err)
	}
	if fileName(r.Node) != name {
		return Report{}, fmt.Errorf("%w: %s holds the report of node %s, whose file is %s", volume.ErrInvalid, name, r.Node, fileName(r.Node))
	}
	return r, nil
}
