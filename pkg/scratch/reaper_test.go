package scratch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/volume"
)

// pods is a PodSource that a test commands.
type pods struct {
	live map[string]bool
	err  error
}

func (p *pods) Pods(context.Context) (map[string]bool, error) { return p.live, p.err }

// TestInterrupted leaves a volume in every phase and both boots, and lets the next request, or the reaper, find it.
func TestInterrupted(t *testing.T) {
	for _, p := range []phase{creating, ready, destroying} {
		for _, rebooted := range []bool{false, true} {
			for _, mounted := range []bool{false, true} {
				if mounted && rebooted {
					continue // can't be
				}
				name := string(p) + map[bool]string{true: ", rebooted"}[rebooted] + map[bool]string{true: ", mounted"}[mounted]
				left := func(t *testing.T) (*node, string, string) {
					n := newNode(t)
					s := n.inlineSpec("uid-1", "tmp", "size", "64Mi")
					n.must(n.PublishInline(t.Context(), s))
					n.must(os.WriteFile(filepath.Join(s.Path, "old"), nil, 0o600))
					if !mounted {
						n.unmountAll()
					}
					r, _ := n.record(s.ID)
					r.Phase = p
					n.must(n.put(r))
					if rebooted {
						n.reboot()
					} else {
						n.start()
					}
					return n, s.ID, s.Path
				}
				t.Run(name+": published again", func(t *testing.T) {
					n, id, path := left(t)
					n.must(n.PublishInline(t.Context(), n.inlineSpec("uid-1", "tmp", "size", "64Mi")))
					n.must(n.PublishedInline(t.Context(), id, path))
					if _, err := os.Stat(filepath.Join(path, "old")); (err == nil) != (mounted && p != destroying) {
						t.Errorf("the old file: %v", err)
					}
					if n.volumes() != 1 {
						t.Errorf("%d volumes", n.volumes())
					}
					n.must(n.UnpublishInline(t.Context(), id, path))
					n.clean()
				})
				t.Run(name+": unpublished", func(t *testing.T) {
					n, id, path := left(t)
					n.must(n.UnpublishInline(t.Context(), id, path))
					n.clean()
				})
				t.Run(name+": reaped", func(t *testing.T) {
					n, _, path := left(t)
					p := &pods{live: map[string]bool{"another": true}}
					r := NewReaper(n.Backend, p, time.Minute)
					clock := time.Now()
					r.now = func() time.Time { return clock }
					n.must(r.Reap(t.Context()))
					clock = clock.Add(50 * time.Second)
					n.must(r.Reap(t.Context()))
					if n.volumes() != 1 {
						t.Fatal("destroyed before its time")
					}
					clock = clock.Add(20 * time.Second)
					p.err = errors.New("no answer")
					if err := r.Reap(t.Context()); !errors.Is(err, p.err) || n.volumes() != 1 {
						t.Fatalf("not knowing who lives: %v, %d volumes", err, n.volumes())
					}
					p.err = nil
					n.must(r.Reap(t.Context()))
					n.clean()
					if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
						t.Errorf("the target is left: %v", err)
					}
				})
			}
		}
	}
}

func TestReaperSparesWhatIsOwned(t *testing.T) {
	n := newNode(t)
	inline := n.inlineSpec("uid-1", "tmp", "size", "64Mi")
	n.must(n.PublishInline(t.Context(), inline))
	staged := n.spec("a", 64*mib)
	n.must(n.Stage(t.Context(), staged))
	block := n.spec("b", 64*mib)
	block.Block = true
	n.must(n.Stage(t.Context(), block))
	p := &pods{live: map[string]bool{"uid-1": true}}
	r := NewReaper(n.Backend, p, 0)
	for range 3 {
		n.must(r.Reap(t.Context()))
	}
	if n.volumes() != 3 {
		t.Fatalf("%d volumes are left", n.volumes())
	}
	t.Run("and what has an owner again", func(t *testing.T) {
		r.grace = time.Hour
		delete(p.live, "uid-1")
		n.must(r.Reap(t.Context()))
		if rec, _ := n.record(inline.ID); rec.Orphan.IsZero() {
			t.Error("not marked")
		}
		p.live["uid-1"] = true
		n.must(r.Reap(t.Context()))
		if rec, _ := n.record(inline.ID); !rec.Orphan.IsZero() {
			t.Error("still marked")
		}
		delete(p.live, "uid-1")
		n.must(r.Reap(t.Context()))
		n.must(n.PublishInline(t.Context(), inline))
		if rec, _ := n.record(inline.ID); !rec.Orphan.IsZero() {
			t.Error("still marked after it was asked for")
		}
	})
	t.Run("and what a process uses", func(t *testing.T) {
		r.grace = 0
		delete(p.live, "uid-1")
		f, err := os.Create(filepath.Join(inline.Path, "open"))
		n.must(err)
		n.must(r.Reap(t.Context()))
		n.want(r.Reap(t.Context()), volume.ErrUnavailable)
		if n.volumes() != 3 {
			t.Fatalf("%d volumes are left", n.volumes())
		}
		n.must(f.Close())
		n.must(r.Reap(t.Context()))
		if n.volumes() != 2 {
			t.Fatalf("%d volumes are left", n.volumes())
		}
	})
	t.Run("and what a call is busy with", func(t *testing.T) {
		n.reboot()
		r := NewReaper(n.Backend, p, 0)
		n.must(r.Reap(t.Context()))
		release, err := n.locks.Acquire(t.Context(), string(staged.ID), "a test")
		n.must(err)
		n.must(r.Reap(t.Context()))
		if _, ok := n.record(string(staged.ID)); !ok {
			t.Fatal("destroyed under a lock")
		}
		release()
		n.must(r.Reap(t.Context()))
		n.clean()
	})
}

func TestStrays(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	n.must(n.Stage(t.Context(), s))
	used := n.spec("b", 64*mib)
	n.must(n.Stage(t.Context(), used))
	n.must(os.Remove(filepath.Join(s.Path, "..", "..", "state", volumeKey+nameOf(string(s.ID))+".json")))
	n.must(os.Remove(filepath.Join(s.Path, "..", "..", "state", volumeKey+nameOf(string(used.ID))+".json")))
	n.start()
	n.must(n.unmounter.Unmount(t.Context(), s.Path))
	r := NewReaper(n.Backend, &pods{live: map[string]bool{"x": true}}, time.Minute)
	clock := time.Now()
	r.now = func() time.Time { return clock }
	n.must(r.Reap(t.Context()))
	clock = clock.Add(50 * time.Second)
	n.must(r.Reap(t.Context()))
	if n.volumes() != 2 {
		t.Fatal("destroyed before its time")
	}
	clock = clock.Add(20 * time.Second)
	n.must(r.Reap(t.Context()))
	if n.volumes() != 1 {
		t.Fatalf("%d volumes are left; the one in use must be", n.volumes())
	}
}

func TestKubeletDir(t *testing.T) {
	dir := t.TempDir()
	if _, err := KubeletDir(dir).Pods(t.Context()); err == nil {
		t.Error("no directory of pods, and no error")
	}
	if err := os.Mkdir(filepath.Join(dir, "pods"), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := KubeletDir(dir).Pods(t.Context()); err == nil {
		t.Error("no pods, and no error")
	}
	if err := os.Mkdir(filepath.Join(dir, "pods", "uid-1"), 0o750); err != nil {
		t.Fatal(err)
	}
	if p, err := KubeletDir(dir).Pods(t.Context()); err != nil || len(p) != 1 || !p["uid-1"] {
		t.Errorf("%v, %v", p, err)
	}
}
