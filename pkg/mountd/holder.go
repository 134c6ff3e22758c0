package mountd

// What the holder knows of its clients, those of an earlier holder included.

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
)

// holder keeps the mounts of one state directory.
type holder struct {
	binary    string // of ceph-fuse
	logDir    string
	store     *store
	prober    *mountpoint.Prober
	unmounter *mountpoint.Unmounter
	locks     keylock.Locks // by mountpoint

	counts counts

	mu     sync.Mutex
	mounts map[string]*mount
}

// mount is one FUSE client. Its fields are guarded by the holder's mutex, ended is closed when the process is gone.
type mount struct {
	entry entry
	state State
	exit  string
	ended chan struct{}
	// unmounted is when it was first seen to be mounted nowhere, of which only the holder of the mountpoint's lock knows.
	unmounted time.Time
}

// newHolder reads the records of an earlier holder and adopts the clients that still run.
func newHolder(ctx context.Context, o Options) (*holder, error) {
	st, err := openStore(o.StateDir)
	if err != nil {
		return nil, err
	}
	prober := mountpoint.NewProber(0)
	h := &holder{binary: o.CephFuse, logDir: o.LogDir, store: st, prober: prober, unmounter: mountpoint.NewUnmounter(prober), mounts: map[string]*mount{}}
	entries, unreadable, err := st.all()
	if err != nil {
		st.close()
		return nil, err
	}
	for _, path := range unreadable {
		klog.FromContext(ctx).Error(nil, "A record can't be read and was put aside; its client, if there is one, goes on unseen until its volume is staged again", "file", path)
	}
	for _, e := range entries {
		h.adopt(ctx, e)
	}
	return h, nil
}

// adopt watches over a client that another holder has started, or notes that it has ended.
func (h *holder) adopt(ctx context.Context, e entry) {
	if e.PID == 0 { // the earlier holder died between the record and the process, or just after
		if e.PID, _ = find(h.binary, e.Spec.Mountpoint); e.PID != 0 {
			e.StartTime = startTime(e.PID)
		}
	}
	m := &mount{entry: e, state: Exited, exit: "ended while no strata-mountd ran", ended: make(chan struct{})}
	fd, err := -1, error(unix.ESRCH)
	if e.PID != 0 {
		fd, err = watchEnd(e.PID, e.StartTime)
	}
	if err != nil {
		close(m.ended)
		h.keep(m)
		if leftMount(e) {
			h.counts.died.Add(1)
		}
		klog.FromContext(ctx).Info("A client ended without us", "mountpoint", e.Spec.Mountpoint, "pid", e.PID)
		return
	}
	m.state, m.exit = Running, ""
	h.keep(m)
	h.counts.adopted.Add(1)
	klog.FromContext(ctx).Info("Adopted a client", "mountpoint", e.Spec.Mountpoint, "pid", e.PID)
	// One that has mounted has read its key; one that hasn't may be about to.
	if at, ok, err := mountpoint.Find(e.Spec.Mountpoint); err == nil && ok && e.owns(*at) {
		if err := wipe(e.PID); err != nil {
			klog.FromContext(ctx).Error(err, "Can't empty the key's descriptor of a client", "pid", e.PID)
		}
	}
	go func() {
		waitEnd(fd)
		_ = unix.Close(fd)
		h.gone(context.WithoutCancel(ctx), m, "ended")
	}()
}

func (h *holder) keep(m *mount) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mounts[m.entry.Spec.Mountpoint] = m
}

func (h *holder) forget(m *mount) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.mounts, m.entry.Spec.Mountpoint)
}

// gone notes that a client's process has ended.
func (h *holder) gone(ctx context.Context, m *mount, how string) {
	last := tail(h.logDir, m.entry.Spec.Mountpoint)
	h.mu.Lock()
	e := m.entry
	m.state, m.exit = Exited, how
	if last != "" {
		m.exit += "; it wrote: " + last
	}
	h.mu.Unlock()
	if leftMount(e) {
		h.counts.died.Add(1)
	}
	close(m.ended)
	klog.FromContext(ctx).Info("A client ended", "mountpoint", m.entry.Spec.Mountpoint, "pid", m.entry.PID, "how", how)
}

func (h *holder) get(path string) (m *mount, state State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m = h.mounts[path]; m != nil {
		state = m.state
	}
	return m, state
}

func (h *holder) list() ([]Status, error) {
	table, err := mountpoint.Read()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Status, 0, len(h.mounts))
	for _, m := range h.mounts {
		out = append(out, Status{Spec: m.entry.Spec, State: m.state, PID: m.entry.PID, Since: m.entry.Since, Exit: m.exit,
			Elsewhere: m.entry.elsewhere(table)})
	}
	return out, nil
}

// tidy keeps the logs in bounds until ctx ends.
func (h *holder) tidy(ctx context.Context) {
	tick := time.NewTicker(tidyTime)
	defer tick.Stop()
	for {
		known := map[string]bool{}
		h.mu.Lock()
		for path := range h.mounts {
			known[name(path)] = true
		}
		h.mu.Unlock()
		if err := tidyLogs(h.logDir, known, time.Now()); err != nil {
			klog.FromContext(ctx).Error(err, "Can't keep the logs of the clients in bounds", "directory", h.logDir)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// check says whether clients can be started at all.
func (h *holder) check() error {
	if _, err := exec.LookPath(h.binary); err != nil {
		return fmt.Errorf("%w: %w; install the package ceph-fuse", ErrFailed, err)
	}
	return nil
}
