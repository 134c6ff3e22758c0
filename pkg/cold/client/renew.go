package client

// New credentials for a running engine. They come with every NodePublishVolume, which kubelet repeats about once in a minute where the CSIDriver object has requiresRepublish; only those
// that are new are handed on.

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/volume"
)

// handed remembers which credentials the engine of a path was given last, by a hash with a key that only this process has. A restarted process hands on once more.
type handed struct {
	mu   sync.Mutex
	key  [32]byte
	last map[string][sha256.Size]byte
}

func (h *handed) sum(c credential) (sum [sha256.Size]byte) {
	if h.last == nil {
		_, _ = rand.Read(h.key[:]) // it never fails (crypto/rand)
		h.last = map[string][sha256.Size]byte{}
	}
	m := hmac.New(sha256.New, h.key[:])
	_, _ = m.Write(c.text)
	m.Sum(sum[:0])
	return sum
}

func (h *handed) has(path string, c credential) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := h.sum(c)
	last, ok := h.last[path]
	return ok && last == sum
}

func (h *handed) note(path string, c credential) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := h.sum(c)
	h.last[path] = sum
}

func (h *handed) forget(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.last, path)
}

// Renew implements tier.Renewer.
func (s *Stager) Renew(ctx context.Context, id volume.ID, path string, secrets map[string]string) error {
	_, who, err := credentialOf(secrets)
	if err != nil {
		return err
	}
	defer who.forget()
	if s.handed.has(path, who) {
		return nil
	}
	return s.renew(ctx, id, path, who)
}

// renew hands the credentials to the engine that serves the volume. One that can't be given any goes on with what it has: its volume health says so, and taking it
// away would end the files that pods have open.
func (s *Stager) renew(ctx context.Context, id volume.ID, path string, who credential) error {
	err := s.holder.Renew(ctx, path, who.text)
	detached := errors.Is(err, volume.ErrPrecondition)
	if err == nil || detached { // a detached engine stays so, and needn't be asked again
		s.handed.note(path, who)
	}
	if err == nil {
		klog.FromContext(ctx).V(2).Info("the volume's engine has new credentials", "volume", id, "path", path)
	}
	if detached || errors.Is(err, volume.ErrNotFound) {
		klog.FromContext(ctx).Info("the volume is staged, and its engine keeps the credentials that it has", "volume", id, "path", path, "cause", err)
		return nil
	}
	return err
}
