package mountd

// Starting a client, or finding that one serves already. A client that serves anybody is never ended here: what a pod has written
// and not yet synced lives in it.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

const (
	// logPoll is how often its log is read for a refusal.
	logPoll = 200 * time.Millisecond
	// probeTime is how long a mount may take to answer before it counts as silent.
	probeTime = 5 * time.Second
)

// start mounts what spec says, or finds it mounted.
func (h *holder) start(ctx context.Context, spec Spec, key *os.File) error {
	release, err := h.locks.Acquire(ctx, spec.Mountpoint, "start")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	defer release()
	m, state := h.get(spec.Mountpoint)
	if m != nil {
		if serves, err := h.reuse(ctx, m, state, spec); err != nil || serves {
			return err
		}
	}
	if other, found, err := mountpoint.Find(spec.Mountpoint); err != nil || found {
		if err != nil {
			return err
		}
		if other.Source != spec.Source {
			return fmt.Errorf("%w: %s of type %s", ErrConflict, other.Source, other.FSType)
		}
		if serves, err := h.takeOver(ctx, spec, *other); err != nil || serves {
			return err
		}
	}
	return h.launch(ctx, spec, key, m != nil && state == Exited)
}

// reuse looks at the client that was started for the mountpoint before. true: it serves as spec asks. Without an error and false: it has
// ended, and nothing of it is left.
func (h *holder) reuse(ctx context.Context, m *mount, state State, spec Spec) (bool, error) {
	if state == Exited {
		return false, h.clear(ctx, m)
	}
	at, mounted, err := mountpoint.Find(spec.Mountpoint)
	switch {
	case err != nil:
		return false, err
	case mounted && !m.entry.owns(*at):
		return false, fmt.Errorf("%w: %s of type %s", ErrConflict, at.Source, at.FSType)
	case mounted:
		m.unmounted = time.Time{}
		return h.judge(ctx, m, spec)
	}
	return false, h.vacated(ctx, m)
}

// judge looks at a mount that is where it was made.
func (h *holder) judge(ctx context.Context, m *mount, spec Spec) (bool, error) {
	err := h.probe(ctx, spec.Mountpoint)
	switch {
	case err == nil && m.entry.Spec.equal(spec):
		return true, nil
	case err == nil:
		return false, fmt.Errorf("%w: %s of %s, with other options", ErrConflict, m.entry.Spec.Path, m.entry.Spec.Source)
	case mountpoint.Dead(err):
		return false, h.clear(ctx, m)
	}
	return false, fmt.Errorf("%w: what is mounted there is left as it is, for it may come back: %w", ErrUnreachable, err)
}

// vacated deals with a client that runs and has lost its mountpoint: somebody unmounted it. It may serve pods by their bind mounts
// still, or write back what it holds, after which it ends by itself.
func (h *holder) vacated(ctx context.Context, m *mount) error {
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	elsewhere := m.entry.elsewhere(table)
	if len(elsewhere) > 0 {
		m.unmounted = time.Time{}
		// One connection answers for all.
		if err := h.probe(ctx, elsewhere[0]); mountpoint.Dead(err) {
			return h.clear(ctx, m)
		}
		return fmt.Errorf("%w: process %d, which was started for %s, serves %s still", ErrBusy, m.entry.PID, m.entry.Spec.Mountpoint, strings.Join(elsewhere, ", "))
	}
	return h.awaitEnd(ctx, m, time.Until(m.vacantSince().Add(writeBackTime)))
}

func (m *mount) vacantSince() time.Time {
	if m.unmounted.IsZero() {
		m.unmounted = time.Now()
	}
	return m.unmounted
}

// takeOver deals with a mount that a client made whose record is lost. true: it serves as spec asks, and is ours again.
// Otherwise, without an error, it is unmounted.
func (h *holder) takeOver(ctx context.Context, spec Spec, at mountpoint.Mount) (bool, error) {
	k, err := h.of(spec)
	if err != nil {
		return false, err
	}
	pid, same := k.find(spec)
	if pid != 0 {
		err := h.probe(ctx, spec.Mountpoint)
		switch {
		case err == nil && !same:
			return false, fmt.Errorf("%w: %s, with other options", ErrConflict, at.Source)
		case err == nil:
			e := entry{Spec: spec, PID: pid, StartTime: startTime(pid), Device: device(at), Since: time.Now(), Ready: true}
			if err := h.store.put(e); err != nil {
				return false, err
			}
			h.adopt(ctx, e)
			return true, nil
		case !mountpoint.Dead(err):
			return false, fmt.Errorf("%w: what is mounted there is left as it is, for it may come back: %w", ErrUnreachable, err)
		}
	}
	return false, detach(entry{Spec: spec})
}

// probe asks a mount, in bounded time.
func (h *holder) probe(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return h.prober.Answers(ctx, path)
}

// launch starts a client and waits until its mount answers.
func (h *holder) launch(ctx context.Context, spec Spec, key *os.File, after bool) error {
	k, err := h.of(spec)
	if err != nil {
		return err
	}
	if key == nil {
		return fmt.Errorf("%w: no key came with the request", ErrInvalid)
	}
	key, err = ownSecret(key, k.secret)
	if err != nil {
		return err
	}
	defer key.Close()
	log, err := openLog(h.logDir, spec.Mountpoint)
	if err != nil {
		return err
	}
	defer log.Close()
	m := &mount{entry: entry{Spec: spec, Since: time.Now()}, state: Starting, ended: make(chan struct{})}
	if err := h.store.put(m.entry); err != nil {
		return err
	}
	c, err := k.start(ctx, spec, key, log)
	if err != nil {
		return errors.Join(err, h.store.remove(spec.Mountpoint))
	}
	cmd := c.process()
	m.client, m.entry.PID, m.entry.StartTime = c, cmd.Process.Pid, startTime(cmd.Process.Pid)
	k.counts.started.Add(1)
	if after {
		k.counts.restarted.Add(1)
	}
	h.keep(m)
	go func() {
		_ = cmd.Wait()
		h.gone(context.WithoutCancel(ctx), m, cmd.ProcessState.String())
	}()
	err = h.store.put(m.entry)
	if err == nil {
		err = h.mounted(ctx, m)
	}
	if err == nil {
		err = h.store.put(m.entry) // with its device
	}
	// What the client read it has; nothing may read it again from the descriptor that it may still have open.
	err = errors.Join(err, key.Truncate(0))
	if err != nil {
		return errors.Join(err, h.abandon(context.WithoutCancel(ctx), m))
	}
	h.mu.Lock()
	if m.state == Starting {
		m.state = Running
	}
	h.mu.Unlock()
	klog.FromContext(ctx).Info("Mounted", "mountpoint", spec.Mountpoint, "source", spec.Source, "pid", m.entry.PID)
	return nil
}

// mounted waits until the client's mount is there and answers.
func (h *holder) mounted(ctx context.Context, m *mount) error {
	at, err := m.client.mounted(ctx, m.ended)
	h.mu.Lock()
	m.entry.Device = at
	if e, ok := m.client.(*engine); ok {
		m.entry.Ready = err == nil
		m.entry.Init, _ = e.state()
	}
	h.mu.Unlock()
	if err != nil {
		return err
	}
	if err := h.prober.Answers(ctx, m.entry.Spec.Mountpoint); err != nil {
		return fmt.Errorf("%w: mounted and doesn't answer: %w", ErrUnreachable, err)
	}
	return m.client.accepted()
}

// detach takes away every mount of a client at its mountpoint, without waiting for what it serves.
func detach(e entry) error {
	for {
		found, ok, err := mountpoint.Find(e.Spec.Mountpoint)
		if err != nil || !ok || !e.owns(*found) {
			return err
		}
		if err := unix.Unmount(found.Path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s (%s): %w", found.Path, found.Source, err)
		}
	}
}
