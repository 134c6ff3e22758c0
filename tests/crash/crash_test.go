// Package crash kills strata-controller with SIGKILL at every failpoint of the tier warm, repeats the request, and holds the
// outcome against that of a run in which nothing died. Afterwards everything is deleted, and a listing of the cluster must show
// nothing of it.
package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/tests/harness"
)

// How the request is repeated after the crash.
const (
	byItself = "by itself, restarted" // the killed controller is started again
	byOther  = "by another"           // a second controller runs already, and the dead one's leases with it
	deleted  = "deleted instead"      // the orchestrator gives the volume up and deletes it
)

// operation is one kind of CSI request that is interrupted.
type operation struct {
	name   string
	points []string // the failpoints on its way, without "warm/"
	// prepare makes what the request needs, with a controller that lives. The request must be the same for one subject.
	prepare func(*run, *subject)
	call    func(context.Context, csi.ControllerClient, *run, *subject) error
	// look describes what there is afterwards, beyond the answer.
	look func(*run, *subject)
	// instead deletes what the interrupted request would have made; nil when its id isn't known before it has answered.
	instead func(*run, *subject) error
	// swept: what is left of it then goes with its source.
	swept bool
	// undo deletes what there is, in the order that an orchestrator would.
	undo func(*run, *subject)
}

// subject is what one row works on: names of its own, so that rows run beside each other and every leftover has an owner.
type subject struct {
	t       testing.TB
	team    string // its volumes' group
	name    string
	volume  *csi.Volume   // that the operation is about, or that it makes
	taken   *csi.Snapshot // likewise
	outcome strings.Builder
}

func (s *subject) note(format string, args ...any) { fmt.Fprintf(&s.outcome, format+"\n", args...) }

// run is what the rows share.
type run struct {
	t      testing.TB
	ceph   *harness.Ceph
	prefix harness.Prefix
	other  *harness.Controller // lives all the time
	kube   *harness.KubeAPI    // where both keep the keys of volumes
	root   string              // a mount of the whole file system
	source *csi.Volume         // some data
	slow   *csi.Volume         // many small files: copying takes seconds
	snap   *csi.Snapshot       // of source

	controls map[string]func() string // by operation: the outcome without a crash
}

func TestMain(m *testing.M) {
	// The rows wait for the manager most of the time, not for processors, of which there may be two.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// lease is short, as nearly every row waits for that of the controller that it kills.
const lease = 2 * time.Second

func TestRequestsSurviveTheDeathOfTheController(t *testing.T) {
	r := newRun(t)
	n := 0
	t.Run("rows", func(t *testing.T) {
		for _, op := range operations {
			for _, point := range op.points {
				for _, how := range []string{byItself, byOther, deleted} {
					if how == deleted && op.instead == nil {
						continue
					}
					n++
					id := n
					t.Run(op.name+"/"+point+"/"+how, func(t *testing.T) {
						t.Parallel()
						r.row(t, op, point, how, id)
					})
				}
			}
		}
	})
	r.finish(t)
}

func newRun(t *testing.T) *run {
	ceph := harness.NewCeph(t)
	r := &run{t: t, ceph: ceph, prefix: harness.NewPrefix(t), kube: harness.NewKubeAPI(t), controls: map[string]func() string{}}
	r.other = harness.NewController(t, ceph, harness.ControllerOptions{Prefix: r.prefix, Lease: lease, Kube: r.kube})
	r.root = ceph.RootMount(t)
	for i, op := range operations {
		r.controls[op.name] = sync.OnceValue(func() string { return r.control(op, i) })
	}
	s := &subject{t: t, team: "src"}
	r.source = r.create(s, "source", nil)
	write(t, r.root+r.source.GetVolumeContext()["path"], 20, 2<<20)
	r.slow = r.create(s, "slow", nil)
	write(t, r.root+r.slow.GetVolumeContext()["path"], 600, 0)
	r.snap = r.snapshot(s, "base", r.source)
	return r
}

// row is one crash and its repetition.
func (r *run) row(t *testing.T, op operation, point, how string, id int) {
	want := r.controls[op.name]()
	s := r.subject(t, id)
	op.prepare(r, s)
	c := r.kill(t, point, func(c csi.ControllerClient) error { return op.call(call(t), c, r, s) })
	if how == deleted {
		r.evict(t, c.PID())
		s.retry("delete instead", func() error { return op.instead(r, s) })
		r.leavesNoVolume(t, s)
		if !op.swept {
			r.leaves(t, s)
		}
		return
	}
	again := r.other
	if how == byItself {
		c.Start("")
		again = c
	} else {
		r.evict(t, c.PID())
	}
	s.retry("the repeated request", func() error { return op.call(call(t), again, r, s) })
	op.look(r, s)
	if diff := cmp.Diff(want, r.neutral(s)); diff != "" {
		t.Errorf("the outcome differs from that without a crash (-) by\n%s", diff)
	}
	op.undo(r, s)
	r.leaves(t, s)
	r.lendsNothing(t, s)
}

// evict ends the dead controller's session in the metadata server, as its timeout would after a minute. A controller that is started
// again does it by itself.
func (r *run) evict(t testing.TB, pid int) {
	t.Helper()
	var sessions []struct {
		ID       int64
		Metadata struct{ PID string } `json:"client_metadata"`
	}
	r.ceph.JSON(t, &sessions, "tell", "mds."+harness.FS+":0", "session", "ls")
	for _, s := range sessions {
		if s.Metadata.PID == strconv.Itoa(pid) {
			r.ceph.Run(t, "tell", "mds."+harness.FS+":0", "session", "evict", fmt.Sprintf("id=%d", s.ID))
		}
	}
}

// kill starts a controller that dies at a failpoint of the call.
func (r *run) kill(t testing.TB, point string, do func(csi.ControllerClient) error) *harness.Controller {
	t.Helper()
	c := harness.NewController(t, r.ceph, harness.ControllerOptions{Prefix: r.prefix, Lease: lease, Failpoint: "warm/" + point, Kube: r.kube})
	harness.Eventually(t, "failpoint "+point+" is reached", harness.Patience, func() error {
		err := do(c)
		switch status.Code(err) {
		case codes.Unavailable:
			return nil
		case codes.Aborted: // a copy that takes longer than one call
			return err
		}
		t.Fatalf("failpoint %s wasn't reached: the call answered %v", point, err)
		return nil
	})
	c.WaitKilled(harness.Patience)
	return c
}

// crash is kill in preparation of a row: the dead one isn't started again.
func (r *run) crash(s *subject, point string, do func(csi.ControllerClient) error) {
	s.t.Helper()
	r.evict(s.t, r.kill(s.t, point, do).PID())
}

// control is a row without a crash, done once for an operation.
func (r *run) control(op operation, i int) string {
	s := r.subject(r.t, 900+i)
	op.prepare(r, s)
	s.retry("the control's request", func() error { return op.call(call(r.t), r.other, r, s) })
	op.look(r, s)
	op.undo(r, s)
	return r.neutral(s)
}

func (r *run) subject(t testing.TB, id int) *subject {
	return &subject{t: t, team: fmt.Sprintf("team%03d", id), name: fmt.Sprintf("pvc%03d", id)} // none begins another
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// neutral is an outcome without what no two runs have in common.
func (r *run) neutral(s *subject) string {
	text := strings.NewReplacer(s.team, "TEAM", s.name, "NAME").Replace(s.outcome.String())
	return uuid.ReplaceAllString(text, "UUID")
}

// call bounds one CSI call, generously: of a copy too.
func call(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// retry does as an orchestrator: it repeats what is pending or was not available, and nothing else.
func (s *subject) retry(what string, f func() error) {
	s.t.Helper()
	harness.Eventually(s.t, what, harness.Patience, func() error {
		err := f()
		switch status.Code(err) {
		case codes.OK:
			return nil
		case codes.Aborted, codes.Unavailable, codes.DeadlineExceeded:
			return err
		}
		s.t.Fatalf("%s: %v", what, err)
		return nil
	})
}

// write fills a directory with files, in all about size bytes, a symbolic link and a directory with a mode of its own.
func write(t testing.TB, dir string, files, size int) {
	t.Helper()
	var errs []error
	for i := range files {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", i%7))
		body := strings.Repeat(fmt.Sprintf("%08d of %7d\n", i, size), (size+files*20-1)/files/20)
		errs = append(errs, os.MkdirAll(sub, 0o751), os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%d", i)), []byte(body), 0o640))
	}
	errs = append(errs, os.Symlink("d0/f0", filepath.Join(dir, "link")))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
