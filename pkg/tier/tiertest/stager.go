// Package tiertest has a node backend for tests, which makes real mounts of tmpfs, and the checks that every
// node backend must pass, that one included. It needs root.
package tiertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// source is what a mount of the Stager shows as its source: this and the volume's id.
const source = "tiertest:"

// Stager mounts an empty tmpfs for every volume. Its context may hold the key "size" (of the tmpfs, "1m" when
// absent) and kubelet's own; it wants the secret "token" with any value. It is safe for concurrent use.
type Stager struct {
	prober    *mountpoint.Prober
	unmounter *mountpoint.Unmounter
	open      bool // wants no secret

	mu     sync.Mutex
	stages []tier.StageSpec
	hook   func(context.Context)
}

// New returns a Stager.
func New() *Stager {
	p := mountpoint.NewProber(0)
	return &Stager{prober: p, unmounter: mountpoint.NewUnmounter(p)}
}

// Stages returns the calls of Stage that got past their checks, oldest first.
func (s *Stager) Stages() []tier.StageSpec {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]tier.StageSpec(nil), s.stages...)
}

// OnStage makes every Stage call f first, which may block.
func (s *Stager) OnStage(f func(context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = f
}

// CheckContext implements tier.Stager.
func (s *Stager) CheckContext(id volume.ID, context map[string]string, options []string) error {
	for k := range context {
		if k != "size" && !strings.Contains(k, "k8s.io/") && !strings.Contains(k, "kubernetes.io/") {
			return fmt.Errorf("%w: volume context of %s: unknown key %q", volume.ErrInvalid, id, k)
		}
	}
	if len(options) > 0 {
		return fmt.Errorf("%w: mount options %q are not supported", volume.ErrInvalid, options)
	}
	return nil
}

// Stage implements tier.Stager.
func (s *Stager) Stage(ctx context.Context, spec tier.StageSpec) error {
	if err := s.CheckContext(spec.ID, spec.Context, spec.Options); err != nil {
		return err
	}
	if !s.open && spec.Secrets["token"] == "" {
		return fmt.Errorf("%w: secret token is missing", volume.ErrInvalid)
	}
	s.begin(ctx, spec)
	err := s.Staged(ctx, spec.ID, spec.Path)
	switch {
	case err == nil:
		if m, ok, err := mountpoint.Find(spec.Path); err != nil || ok && m.ReadOnly() != spec.ReadOnly {
			return errors.Join(err, fmt.Errorf("%w: %s is staged with read-only %t", volume.ErrExists, spec.Path, m.ReadOnly()))
		}
		return nil
	case errors.Is(err, volume.ErrUnavailable):
		if err := s.unmounter.Unmount(ctx, spec.Path); err != nil {
			return mounterror.Wrap(err)
		}
	case !errors.Is(err, volume.ErrNotFound):
		return err
	}
	return mount(string(spec.ID), spec.Path, spec.Context["size"], spec.ReadOnly, nil)
}

func (s *Stager) begin(ctx context.Context, spec tier.StageSpec) {
	s.mu.Lock()
	s.stages = append(s.stages, spec)
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		hook(ctx)
	}
}

func mount(id, path, size string, readOnly bool, group *uint32) error {
	if size == "" {
		size = "1m"
	}
	var flags uintptr
	if readOnly {
		flags = unix.MS_RDONLY
	}
	options := "size=" + size
	if group != nil {
		options += fmt.Sprintf(",mode=2777,gid=%d", *group)
	}
	return os.NewSyscallError("mount", unix.Mount(source+id, path, "tmpfs", flags, options))
}

// Unstage implements tier.Stager.
func (s *Stager) Unstage(ctx context.Context, _ volume.ID, path string) error {
	return mounterror.Wrap(s.unmounter.Unmount(ctx, path))
}

// Staged implements tier.Stager. A mount that is dead could be anybody's; at the path asked for it is taken as the volume's.
func (s *Stager) Staged(ctx context.Context, id volume.ID, path string) error {
	m, ok, err := mountpoint.Find(path)
	if err != nil {
		return mounterror.Wrap(err)
	}
	if !ok {
		return fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	}
	if _, err := s.prober.Probe(ctx, path); err != nil {
		return mounterror.Wrap(err)
	}
	if m.Source != source+string(id) {
		return fmt.Errorf("%w: %s is mounted at %s", volume.ErrExists, m.Source, path)
	}
	return nil
}

// Usage implements tier.UsageReporter.
func (s *Stager) Usage(ctx context.Context, _ volume.ID, path string) (volume.Usage, error) {
	st, err := s.prober.Probe(ctx, path)
	if err != nil {
		return volume.Usage{}, mounterror.Wrap(err)
	}
	return volume.Usage{
		TotalBytes: int64(st.TotalBytes), UsedBytes: int64(st.UsedBytes()), AvailableBytes: int64(st.AvailableBytes),
		TotalInodes: int64(st.TotalInodes), UsedInodes: int64(st.UsedInodes()), AvailableInodes: int64(st.FreeInodes),
	}, nil
}

// MountHealth implements tier.MountHealthReporter.
func (s *Stager) MountHealth(ctx context.Context, id volume.ID, path string) ([]volume.Condition, error) {
	err := s.Staged(ctx, id, path)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, volume.ErrNotFound):
		return []volume.Condition{{Severity: volume.Inaccessible, Reason: "NotMounted", Message: err.Error()}}, nil
	case errors.Is(err, volume.ErrUnavailable):
		return []volume.Condition{{Severity: volume.Inaccessible, Reason: "MountDead", Message: err.Error()}}, nil
	}
	return nil, err
}

// Locate finds the volume's mounts in the mount table.
func (s *Stager) Locate(_ context.Context, id volume.ID) ([]string, error) {
	t, err := mountpoint.Read()
	return t.FromSource("tmpfs", source+string(id)).Paths(), err
}
