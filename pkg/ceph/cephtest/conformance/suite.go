// Package conformance is the suite of what Strata relies on in Ceph: every command, attribute and lock it uses, with what they
// answer when all is well and when not. It runs against the fake of package cephtest in plain unit tests and against a
// real cluster in tests/conformance, so that the fake can't drift from what it stands for.
package conformance

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
)

// Config is the cluster to test. Its file system has a replicated first data pool and an erasure-coded one.
type Config struct {
	Conn ceph.Conn
	// Second is another client of the same cluster.
	Second ceph.Conn
	FS     string
	// Meta, Data and Erasure are the metadata pool, the first data pool and the erasure-coded data pool of FS.
	Meta, Data, Erasure string
	// Write makes a file of size bytes in an existing directory.
	Write func(t *testing.T, path string, size int64)
	// HoldClones keeps clones from running while hold is true.
	HoldClones func(t *testing.T, hold bool)
	// Wait lets time pass for the cluster: it is called again and again until something has come about.
	Wait func()
	// Later lets d pass on the cluster's clock.
	Later func(d time.Duration)
	// Parallel runs the groups of cases at the same time: on a real cluster most of their time is waiting.
	Parallel bool
}

// Run runs the suite.
func Run(t *testing.T, cfg Config) {
	for _, group := range []struct {
		name  string
		cases []testcase
	}{
		{"group", groupCases},
		{"subvolume", subvolumeCases},
		{"snapshot", snapshotCases},
		{"clone", cloneCases},
		{"attributes", attributeCases},
		{"layout", layoutCases},
		{"directory", directoryCases},
		{"lock", lockCases},
		{"monitor", monitorCases},
		{"identity", identityCases},
		{"deadline", deadlineCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			if cfg.Parallel {
				t.Parallel()
			}
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) { c.run(newEnv(t, cfg)) })
			}
		})
	}
}

// testcase is one behaviour; its name says which.
type testcase struct {
	name string
	run  func(*env)
}

// callTimeout is more than any answer takes, also while the manager's cloner holds its lock.
const callTimeout = 60 * time.Second

// env is what a case works with: a cluster and a subvolume group of its own.
type env struct {
	*testing.T
	Config
	ctx   context.Context
	group string
}

// m are a command's arguments.
type m = map[string]any

func newEnv(t *testing.T, cfg Config) *env {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // t.Context ends before clean
	t.Cleanup(cancel)
	e := &env{T: t, Config: cfg, ctx: ctx, group: "conf-" + strings.ToLower(rand.Text()[:10])}
	e.ok("fs subvolumegroup create", nil)
	t.Cleanup(e.clean)
	return e
}

// clean removes the group with all that is in it. The manager empties what was removed in the background, so it is told until it has.
func (e *env) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	e.ctx = ctx
	e.stopClones(ctx)
	for {
		for _, sub := range e.names("fs subvolume ls", nil) {
			e.remove(sub)
		}
		_, err := e.mgr("fs subvolumegroup rm", m{"force": true})
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			e.Errorf("group %s stays: %v", e.group, err)
			return
		}
		e.Wait()
	}
}

// stopClones stops every clone of the group and waits until the manager has struck them off its queue.
func (e *env) stopClones(ctx context.Context) {
	for _, sub := range e.names("fs subvolume ls", nil) {
		// Cancelling waits for the cloner's lock for seconds: only what runs is cancelled.
		if out, err := e.mgr("fs clone status", m{"clone_name": sub}); err == nil && !strings.Contains(string(out), `"complete"`) {
			_, _ = e.mgr("fs clone cancel", m{"clone_name": sub})
		}
	}
	for len(e.queued()) > 0 && ctx.Err() == nil {
		e.Wait()
	}
}

// cloneIndex is the manager's queue of clones.
const cloneIndex = "/volumes/_index/clone"

// queued are the clones of the group that are in the manager's queue, and by which link.
func (e *env) queued() map[string]string {
	e.Helper()
	links := map[string]string{}
	names, err := e.tree().ReadDir(e.ctx, cloneIndex)
	if err != nil && !ceph.Absent(err) {
		e.Errorf("the queue of clones: %v", err)
	}
	for _, name := range names {
		target, err := e.tree().ReadLink(e.ctx, cloneIndex+"/"+name)
		if err != nil && !ceph.Absent(err) {
			e.Errorf("the queue of clones: %v", err)
		}
		if sub, ok := strings.CutPrefix(target, e.dir()+"/"); ok {
			links[sub] = name
		}
	}
	return links
}

// struckOff waits until a clone that has ended is off the manager's queue. One that is removed before stays at its head for ever, and no
// other is copied.
func (e *env) struckOff(name string) {
	e.Helper()
	e.until("clone "+name+" struck off", func() bool { return e.queued()[name] == "" })
}

// remove removes a subvolume in any state.
func (e *env) remove(sub string) {
	for _, s := range e.names("fs subvolume snapshot ls", m{"sub_name": sub}) {
		_, _ = e.mgr("fs subvolume snapshot rm", m{"sub_name": sub, "snap_name": s, "force": true})
	}
	_, _ = e.mgr("fs subvolume rm", m{"sub_name": sub, "force": true})
}

// mgr sends a command about the case's file system and group.
func (e *env) mgr(prefix string, args m) ([]byte, error) {
	command := m{"prefix": prefix, "vol_name": e.FS, "group_name": e.group, "format": "json"}
	maps.Copy(command, args)
	ctx, cancel := context.WithTimeout(e.ctx, callTimeout)
	defer cancel()
	return e.Conn.Mgr(ctx, command)
}

// ok sends a command that must work.
func (e *env) ok(prefix string, args m) []byte {
	e.Helper()
	out, err := e.mgr(prefix, args)
	if err != nil {
		e.Fatalf("%s %v: %v", prefix, args, err)
	}
	return out
}

// object sends a command that answers a JSON object.
func (e *env) object(prefix string, args m) m {
	e.Helper()
	var v m
	if err := json.Unmarshal(e.ok(prefix, args), &v); err != nil {
		e.Fatalf("%s %v: %v", prefix, args, err)
	}
	return v
}

// refused sends a command that must be refused with an errno.
func (e *env) refused(want syscall.Errno, prefix string, args m) {
	e.Helper()
	out, err := e.mgr(prefix, args)
	if err == nil {
		e.Errorf("%s %v: answered %q, want %v", prefix, args, out, want)
		return
	}
	e.errno(err, want, prefix, args)
}

// errno says whether an error is the cluster's refusal with an errno; want 0 means no error.
func (e *env) errno(err error, want syscall.Errno, what string, args any) {
	e.Helper()
	if want == 0 {
		if err != nil {
			e.Errorf("%s %v: %v", what, args, err)
		}
		return
	}
	var refusal *ceph.Error
	if !errors.As(err, &refusal) || !errors.Is(err, want) {
		e.Errorf("%s %v: error %v, want a *ceph.Error with %v", what, args, err, want)
		return
	}
	if refusal.Op == "" {
		e.Errorf("%s %v: the error doesn't say what was asked: %v", what, args, err)
	}
}

// names sends a command that lists names; sorted.
func (e *env) names(prefix string, args m) []string {
	out, err := e.mgr(prefix, args)
	if err != nil {
		return nil
	}
	var list []struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		e.Errorf("%s: %v", prefix, err)
	}
	var names []string
	for _, n := range list {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return names
}

// equal compares what was got with what is wanted.
func (e *env) equal(what string, got, want any) {
	e.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if string(g) != string(w) {
		e.Errorf("%s is %s, want %s", what, g, w)
	}
}

// fields compares some fields of an answer with what is wanted.
func (e *env) fields(got, want m) {
	e.Helper()
	for field, v := range want {
		e.equal(field, got[field], v)
	}
}

// until waits for something to come about.
func (e *env) until(what string, f func() bool) {
	e.Helper()
	for !f() {
		if e.ctx.Err() != nil {
			e.Fatalf("%s: not in time", what)
		}
		e.Wait()
	}
}

func (e *env) tree() ceph.Tree { return e.Conn.Tree(e.FS) }

// dir is the path of the case's group, or of something in it.
func (e *env) dir(below ...string) string {
	return strings.Join(append([]string{"/volumes", e.group}, below...), "/")
}

// create makes a subvolume and returns the path of its data directory.
func (e *env) create(name string, args m) string {
	e.Helper()
	command := m{"sub_name": name, "pool_layout": e.Erasure, "namespace_isolated": true, "size": 1 << 30}
	maps.Copy(command, args)
	e.ok("fs subvolume create", command)
	return e.path(name)
}

func (e *env) path(name string) string {
	e.Helper()
	return strings.TrimSpace(string(e.ok("fs subvolume getpath", m{"sub_name": name})))
}

func (e *env) info(name string) m {
	e.Helper()
	return e.object("fs subvolume info", m{"sub_name": name})
}

// snap takes a snapshot.
func (e *env) snap(sub, snapshot string) {
	e.Helper()
	e.ok("fs subvolume snapshot create", m{"sub_name": sub, "snap_name": snapshot})
}

// clone begins a clone.
func (e *env) clone(sub, snapshot, target string, args m) {
	e.Helper()
	command := m{"sub_name": sub, "snap_name": snapshot, "target_sub_name": target, "target_group_name": e.group}
	maps.Copy(command, args)
	e.ok("fs subvolume snapshot clone", command)
}

// status is the state of a clone and the whole answer.
func (e *env) status(name string) (string, m) {
	e.Helper()
	status, _ := e.object("fs clone status", m{"clone_name": name})["status"].(m)
	state, _ := status["state"].(string)
	return state, status
}

// finish waits for a clone, until it may be removed.
func (e *env) finish(name string) {
	e.Helper()
	e.until("clone "+name+" complete", func() bool {
		state, status := e.status(name)
		if state == "failed" || state == "canceled" {
			e.Fatalf("clone %s: %v", name, status)
		}
		return state == "complete"
	})
	e.struckOff(name)
}

// xattr reads an attribute that must be there.
func (e *env) xattr(path, name string) string {
	e.Helper()
	v, err := e.tree().Xattr(e.ctx, path, name)
	if err != nil {
		e.Errorf("%s of %s: %v", name, path, err)
	}
	return v
}

// set writes an attribute.
func (e *env) set(path, name, value string) {
	e.Helper()
	if err := e.tree().SetXattr(e.ctx, path, name, value); err != nil {
		e.Fatalf("set %s=%q of %s: %v", name, value, path, err)
	}
}
