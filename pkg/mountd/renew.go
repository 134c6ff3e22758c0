package mountd

// What an engine is told while it runs.

import (
	"context"
	"fmt"
	"os"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/coldfs/control"
)

// renew hands new credentials to a running engine. It isn't asked whether they are any good: it says so as its condition.
func (h *holder) renew(ctx context.Context, path string, key *os.File) error {
	release, err := h.locks.Acquire(ctx, path, "renew")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	defer release()
	m, state := h.get(path)
	if m == nil || state != Running {
		return fmt.Errorf("%w: no engine serves %s", ErrNotFound, path)
	}
	if m.entry.Spec.Kind != KindColdFS {
		return fmt.Errorf("%w: a mount of kind %s takes no new credentials", ErrInvalid, m.entry.Spec.Kind)
	}
	e, ok := m.client.(*engine)
	if !ok {
		return fmt.Errorf("%w: process %d goes on with the credentials that it has; unstage the volume and stage it again to give it others", ErrDetached, m.entry.PID)
	}
	k, err := h.of(m.entry.Spec)
	if err != nil {
		return err
	}
	if key == nil {
		return fmt.Errorf("%w: no key came with the request", ErrInvalid)
	}
	if key, err = ownSecret(key, k.secret); err != nil {
		return err
	}
	defer key.Close()
	if err := e.hide(key); err != nil {
		return err
	}
	return e.order(control.Order{Credentials: true}, key)
}

// flush tells an engine that its end is near, so that it commits what it can before the mount is gone. One that doesn't listen hears of its end from the kernel.
func (e *engine) flush() {
	if err := e.order(control.Order{Flush: true}, nil); err != nil {
		klog.Background().V(2).Info("An engine wasn't told that its mount goes", "mountpoint", e.spec.Mountpoint, "reason", err.Error())
	}
}

// maxHidden is how many texts are kept from those before: what is still under way was signed with the last of them.
const maxHidden = 4

// hide keeps new secrets out of what the engine says from now on, as those before.
func (e *engine) hide(key *os.File) error {
	words, err := secretWords(key)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hidden = append(words, e.hidden[:min(len(e.hidden), maxHidden)]...)
	return nil
}
