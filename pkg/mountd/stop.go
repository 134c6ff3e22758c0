package mountd

// Ending a client.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

const (
	// endTime is how long a call waits for a client whose mount is gone to end by itself, and how long one gets after SIGTERM.
	endTime = 10 * time.Second
	// writeBackTime is how long a client that is mounted nowhere may take to write back what it holds before a new
	// one ends it. It waits for a cluster that is repairing itself, not for one that never comes back.
	writeBackTime = 10 * time.Minute
	// abandonTime is what a client gets to end after SIGTERM that never served, and so holds nothing.
	abandonTime = time.Second
)

// stop unmounts and waits for the client's end. A client whose mount has bind mounts elsewhere goes on until they are gone too.
func (h *holder) stop(ctx context.Context, path string) error {
	release, err := h.locks.Acquire(ctx, path, "stop")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	defer release()
	m, state := h.get(path)
	if m == nil {
		return nil
	}
	if state == Exited {
		return errors.Join(h.clear(ctx, m), removeLog(h.logDir, path))
	}
	if e, ok := m.client.(*engine); ok {
		e.flush()
	}
	err = h.unmounter.UnmountWhile(ctx, path, func(context.Context) error {
		at, ok, err := mountpoint.Find(path)
		if err == nil && ok && !m.entry.owns(*at) {
			err = fmt.Errorf("%w: %s of type %s", ErrConflict, at.Source, at.FSType)
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrConflict) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	// Another's mount is no business of ours, unless ours is hidden below it.
	if busy := h.awaitEnd(ctx, m, endTime); busy != nil {
		return errors.Join(busy, err)
	}
	return removeLog(h.logDir, path)
}

// awaitEnd waits for the end of a client whose mountpoint is free, and forgets it.
func (h *holder) awaitEnd(ctx context.Context, m *mount, limit time.Duration) error {
	select {
	case <-m.ended:
		h.forget(m)
		return h.store.remove(m.entry.Spec.Mountpoint)
	case <-ctx.Done():
	case <-time.After(limit):
	}
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	doing := "writes back what it holds"
	if elsewhere := m.entry.elsewhere(table); len(elsewhere) > 0 {
		m.unmounted = time.Time{}
		doing = "serves " + strings.Join(elsewhere, ", ")
	} else if time.Since(m.vacantSince()) > writeBackTime && ctx.Err() == nil {
		return h.clear(ctx, m)
	}
	return fmt.Errorf("%w: process %d, which was started for %s, %s still", ErrBusy, m.entry.PID, m.entry.Spec.Mountpoint, doing)
}

// clear ends a client that doesn't serve any more, and takes its mount away.
func (h *holder) clear(ctx context.Context, m *mount) error { return h.remove(ctx, m, endTime) }

// abandon is clear of a client that never served.
func (h *holder) abandon(ctx context.Context, m *mount) error { return h.remove(ctx, m, abandonTime) }

func (h *holder) remove(ctx context.Context, m *mount, patience time.Duration) error {
	if err := detach(m.entry); err != nil {
		return err
	}
	if err := h.end(ctx, m, patience); err != nil {
		return err
	}
	h.forget(m)
	return h.store.remove(m.entry.Spec.Mountpoint)
}

// end ends a client's process, with SIGTERM first: so it can close its session, which would block others for a minute otherwise.
func (h *holder) end(ctx context.Context, m *mount, patience time.Duration) error {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		select {
		case <-m.ended:
			return nil
		default:
		}
		if startTime(m.entry.PID) == m.entry.StartTime {
			_ = unix.Kill(m.entry.PID, signal)
		}
		select {
		case <-m.ended:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%w: process %d has been told to end and hasn't yet", ErrBusy, m.entry.PID)
		case <-time.After(patience):
		}
	}
	return fmt.Errorf("%w: process %d doesn't end", ErrBusy, m.entry.PID)
}
