package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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
	// cached is how long one look serves: a controller asks once for every node and class.
	cached = 2 * time.Second
	// maxFile is more than a report of hundreds of classes has.
	maxFile = 1 << 20
)

// Reader is the Source of reports that lie somewhere under a name each. One that can't be used, because it is old or is no report, hides its
// node and no other; that is logged once.
type Reader struct {
	where  string
	read   func() ([]found, error)
	maxAge time.Duration
	cached time.Duration
	log    klog.Logger

	mu      sync.Mutex
	reading chan struct{} // closed when the look that runs has ended; nil: none runs
	at      time.Time     // of the last look
	reports []Report
	err     error
	said    map[string]string // by name: what was logged of it
}

// found is what lies under one name.
type found struct {
	name   string
	report Report
	err    error // why it is no report
}

var _ Source = (*Reader)(nil)

// NewReader reads the reports in a directory that are at most maxAge old, by the clocks of both machines; one that comes from the future by
// as much isn't used either.
func NewReader(log klog.Logger, dir string, maxAge time.Duration) *Reader {
	return newReader(log, "the directory "+dir, maxAge, func() ([]found, error) { return readDir(dir) })
}

// Lister lists reports, as Encode wrote them, by the name under which each lies.
type Lister interface {
	List(ctx context.Context) (map[string][]byte, error)
}

// NewListReader is NewReader of a Lister, whose name for a node's report is nameOf(node). A list that takes longer than 30 seconds is given up.
func NewListReader(log klog.Logger, l Lister, nameOf func(node string) string, maxAge time.Duration) *Reader {
	return newReader(log, "the API", maxAge, func() ([]found, error) { return readList(l, nameOf) })
}

func newReader(log klog.Logger, where string, maxAge time.Duration, read func() ([]found, error)) *Reader {
	return &Reader{where: where, read: read, maxAge: maxAge, cached: cached, log: log, said: map[string]string{}}
}

// Reports returns the usable reports as they were at most 2 seconds ago. When they can't be read the error wraps
// volume.ErrUnavailable, and when there is no answer before ctx ends, as of an NFS server that is down, volume.ErrDeadline.
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
		return nil, fmt.Errorf("%w: the scratch reports in %s: %w", volume.ErrDeadline, r.where, context.Cause(ctx))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.reports), r.err
}

// look reads them all. It may hang; only one ever does.
func (r *Reader) look() {
	all, err := r.read()
	if err != nil {
		err = fmt.Errorf("%w: the scratch reports in %s: %w", volume.ErrUnavailable, r.where, err)
	}
	reports, problems := sift(all, r.maxAge)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.say(problems, err)
	r.reports, r.err, r.at = reports, err, time.Now()
	close(r.reading)
	r.reading = nil
}

// problem is why a report isn't used.
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
			r.log.Error(p.err, "A scratch report is not used; its node gets no new volumes by it", "report", name)
		}
		r.said[name] = p.kind
	}
	for name := range r.said {
		if _, still := problems[name]; !still {
			r.log.Info("The scratch report is used again, or gone", "report", name)
			delete(r.said, name)
		}
	}
}

func readDir(dir string) ([]found, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []found
	for _, name := range names {
		if strings.HasPrefix(name, ".") || !strings.HasSuffix(name, suffix) {
			continue
		}
		rep, err := readFile(root, name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		all = append(all, found{name, rep, err})
	}
	return all, nil
}

// listWait bounds one list.
const listWait = 30 * time.Second

func readList(l Lister, nameOf func(node string) string) ([]found, error) {
	ctx, cancel := context.WithTimeout(context.Background(), listWait)
	defer cancel()
	texts, err := l.List(ctx)
	if err != nil {
		return nil, err
	}
	var all []found
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		rep, err := decode(texts[name])
		switch {
		case err != nil:
			err = fmt.Errorf("%s is no report: %w", name, err)
		case nameOf(rep.Node) != name:
			err = fmt.Errorf("%w: %s holds the report of node %s, whose place is %s", volume.ErrInvalid, name, rep.Node, nameOf(rep.Node))
		}
		all = append(all, found{name, rep, err})
	}
	return all, nil
}

// sift keeps the reports that can be used.
func sift(all []found, maxAge time.Duration) ([]Report, map[string]problem) {
	var reports []Report
	problems := map[string]problem{}
	for _, f := range all {
		if f.err != nil {
			problems[f.name] = problem{"unreadable", f.err}
			continue
		}
		rep := f.report
		switch age := time.Since(rep.Time); {
		case age > maxAge:
			problems[f.name] = problem{"old", fmt.Errorf("node %s reported last at %s, %s ago; older than %s isn't used: look whether its strata-node runs, "+
				"and remove the report if the node is gone", rep.Node, rep.Time.Format(time.RFC3339), age.Round(time.Second), maxAge)}
		case age < -maxAge:
			problems[f.name] = problem{"future", fmt.Errorf("node %s reported at %s, which is %s from now: set its clock, or this machine's",
				rep.Node, rep.Time.Format(time.RFC3339), -age.Round(time.Second))}
		default:
			reports = append(reports, rep)
		}
	}
	return reports, problems
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
