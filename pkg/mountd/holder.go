package mountd

// What the holder knows of its clients, those of an earlier holder included.

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
)

// holder keeps the mounts of one state directory.
type holder struct {
	kinds     map[string]served
	logDir    string
	store     *store
	prober    *mountpoint.Prober
	unmounter *mountpoint.Unmounter
	locks     keylock.Locks // by mountpoint

	refused atomic.Int64 // requests

	mu     sync.Mutex
	mounts map[string]*mount
}

// mount is one FUSE client. Its fields are guarded by the holder's mutex, ended is closed when the process is gone.
type mount struct {
	entry  entry
	client client // nil: adopted
	state  State
	exit   string
	ended  chan struct{}
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
	h := &holder{kinds: kindsOf(o, o.LogDir), logDir: o.LogDir, store: st, prober: prober, unmounter: mountpoint.NewUnmounter(prober), mounts: map[string]*mount{}}
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
	k, err := h.of(e.Spec)
	if err != nil { // its flag was taken away; it isn't ended for that, and nobody can ask for another
		klog.FromContext(ctx).Error(err, "A record is of a kind that isn't served any more", "mountpoint", e.Spec.Mountpoint, "pid", e.PID)
	}
	if e.PID == 0 && err == nil { // the earlier holder died between the record and the process, or just after
		if e.PID, _ = k.find(e.Spec); e.PID != 0 {
			e.StartTime = startTime(e.PID)
		}
	}
	if e.Spec.Kind == KindColdFS && !e.Ready && e.PID != 0 && startTime(e.PID) == e.StartTime {
		// Nobody was told that it is ready, and it can't tell any more.
		klog.FromContext(ctx).Info("Ends an engine that an earlier strata-mountd was starting when it ended", "mountpoint", e.Spec.Mountpoint, "pid", e.PID)
		_ = unix.Kill(e.PID, unix.SIGKILL)
		e.PID = 0
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
			h.count(m).died.Add(1)
		}
		klog.FromContext(ctx).Info("A client ended without us", "mountpoint", e.Spec.Mountpoint, "pid", e.PID)
		return
	}
	m.state, m.exit = Running, ""
	h.keep(m)
	h.count(m).adopted.Add(1)
	klog.FromContext(ctx).Info("Adopted a client", "mountpoint", e.Spec.Mountpoint, "pid", e.PID)
	// One that has mounted has read its key; one that hasn't may be about to.
	if at, ok, err := mountpoint.Find(e.Spec.Mountpoint); err == nil && ok && e.owns(*at) {
		if err := wipe(e.PID, k.program); err != nil {
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
	// First of all: nobody is to wait for it any longer.
	if m.client != nil {
		m.client.release()
	} else if m.entry.Spec.Kind == KindColdFS {
		_ = adoptedGroup(name(m.entry.Spec.Mountpoint)).remove()
	}
	last := tail(h.logDir, m.entry.Spec.Mountpoint)
	h.mu.Lock()
	e := m.entry
	m.state, m.exit = Exited, how
	if last != "" {
		m.exit += "; it wrote: " + last
	}
	h.mu.Unlock()
	if leftMount(e) {
		h.count(m).died.Add(1)
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
		s := Status{Spec: m.entry.Spec, State: m.state, PID: m.entry.PID, Since: m.entry.Since, Exit: m.exit, Elsewhere: m.entry.elsewhere(table)}
		if m.state == Running && m.entry.Spec.Kind == KindColdFS {
			e, ok := m.client.(*engine)
			if s.Detached = !ok; ok {
				_, s.Conditions = e.state()
			}
		}
		out = append(out, s)
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
