// Package client is the node's side of the warm tier: it mounts a CephFS subvolume with the kernel's client or with
// ceph-fuse, and finds, measures and judges such mounts. It keeps no state: a mount is known by its
// row in the mount table (see recognise), so a restarted node finds what the one before it mounted.
package client

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/singleflight"

	"github.com/strata-csi/strata/pkg/clientmount"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/warm/volumecontext"
)

// Clusters is the node's cluster configuration.
type Clusters interface {
	// Monitors returns the addresses of the cluster's monitors. The error wraps volume.ErrInvalid when the cluster isn't configured.
	Monitors(clusterID string) ([]string, error)
}

// Mount asks a Mounter for one mount. It holds no secret.
type Mount struct {
	Source   string // what the mount table is to show as the source, where the mounter has the choice
	Monitors []string
	User     string // cephx identity without "client."
	FS, Path string
	ReadOnly bool
	Options  []string
	Target   string // an empty directory that nothing is mounted on
}

// Mounter is one of the two ways to mount CephFS.
type Mounter interface {
	// Available says why the mounter can't be used on this node, or nil.
	Available(ctx context.Context) error
	// CheckOptions refuses a mount option that Mount would refuse. The error wraps volume.ErrInvalid.
	CheckOptions(options []string) error
	// Mount mounts; after an error nothing is mounted at the target. The errors are those of pkg/volume. The key is
	// overwritten when Mount has returned.
	Mount(ctx context.Context, m Mount, key []byte) error
	// Serving returns where, other than at the target, a client that was started for the target and still runs is mounted. As
	// long as one of these mounts lives, Mount doesn't mount the target anew.
	Serving(ctx context.Context, target string) ([]string, error)
	// Unmounted is told that the target is no longer mounted, and ends what the mount left behind on this node.
	Unmounted(ctx context.Context, target string) error
	// Fate returns in a few words what became of the client behind a dead mount of that source, "" when nothing is known.
	Fate(ctx context.Context, source string) string
}

// Config is what a Stager needs; every field is required.
type Config struct {
	Clusters     Clusters
	Kernel, Fuse Mounter
	Prober       *mountpoint.Prober
	Unmounter    *mountpoint.Unmounter
}

// Stager implements tier.Stager, tier.UsageReporter, tier.MountHealthReporter and node.Locator.
type Stager struct {
	Config
	fuseTypes []string           // as the mount table shows ceph-fuse
	asking    singleflight.Group // reads of a mount that may not answer, by mount
	mounts    *clientmount.Mounts
}

// New returns a Stager.
func New(c Config) (*Stager, error) {
	if c.Clusters == nil || c.Kernel == nil || c.Fuse == nil || c.Prober == nil || c.Unmounter == nil {
		return nil, errors.New("warm client: a field of Config is missing")
	}
	// "fuse.ceph-fuse" when the mount says its subtype; ceph-fuse with a source of ours says "fuse".
	s := &Stager{Config: c, fuseTypes: []string{"fuse.ceph-fuse", "fuse"}}
	s.mounts = clientmount.New(known{s}, c.Prober, c.Unmounter)
	return s, nil
}

// mounter is a chosen way to mount with the options that go with it.
type mounter struct {
	Mounter
	options []string
}

// choose returns the mounter that the volume's context asks for. With auto it's the kernel's client where
// the node has it: it is faster, and no process of ours stands between a pod and its data.
func (s *Stager) choose(ctx context.Context, c volumecontext.Context, extra []string) (mounter, error) {
	kernel := mounter{s.Kernel, append(append([]string(nil), c.KernelOptions...), extra...)}
	fuse := mounter{s.Fuse, append(append([]string(nil), c.FuseOptions...), extra...)}
	switch c.Mounter {
	case volumecontext.Kernel:
		return kernel, s.Kernel.Available(ctx)
	case volumecontext.Fuse:
		return fuse, s.Fuse.Available(ctx)
	}
	noKernel := s.Kernel.Available(ctx)
	if noKernel == nil {
		return kernel, nil
	}
	if noFuse := s.Fuse.Available(ctx); noFuse != nil {
		// What kind of error it is, is for ceph-fuse to say: it may be back soon, a kernel stays as it is.
		return mounter{}, fmt.Errorf("%w; nor can the kernel mount: %v", noFuse, noKernel)
	}
	return fuse, nil
}
