package client

// What Stage refuses before it touches anything: a context that contradicts the id, options no client takes, a request
// without a usable identity.

import (
	"fmt"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm/volumecontext"
)

// The secrets of a node-stage or node-publish request.
const (
	SecretUser = "userID"  // the cephx identity, without "client."
	SecretKey  = "userKey" // its key, as `ceph auth get-key` prints it
)

// CheckContext implements tier.Stager.
func (s *Stager) CheckContext(id volume.ID, context map[string]string, options []string) error {
	_, _, err := s.check(id, context, options)
	return err
}

// demand is a checked request, without its secrets.
type demand struct {
	volumecontext.Context
	readOnly bool     // by the volume or by the PersistentVolume's mount options
	options  []string // of the PersistentVolume, without what says read-only
}

// check also returns where a snapshot-backed volume's data is.
func (s *Stager) check(id volume.ID, context map[string]string, options []string) (demand, *volumecontext.Snapshot, error) {
	c, err := volumecontext.Parse(id, context)
	if err != nil {
		return demand{}, nil, err
	}
	d := demand{Context: c, readOnly: c.ReadOnly}
	for _, o := range options {
		switch o {
		case "ro":
			d.readOnly = true
		case "rw": // what it is without saying so
		default:
			d.options = append(d.options, o)
		}
	}
	if err := s.Kernel.CheckOptions(c.KernelOptions); err != nil {
		return demand{}, nil, fmt.Errorf("%s: %w", volumecontext.KeyKernelMountOptions, err)
	}
	if err := s.Fuse.CheckOptions(c.FuseOptions); err != nil {
		return demand{}, nil, fmt.Errorf("%s: %w", volumecontext.KeyFuseMountOptions, err)
	}
	if err := s.checkVolumeOptions(d); err != nil {
		return demand{}, nil, err
	}
	if snapshot, ok := c.Snapshot(); ok {
		return d, &snapshot, nil
	}
	return d, nil, nil
}

// checkVolumeOptions checks the PersistentVolume's mount options with those of the class they're added to. With mounter auto
// both clients must take them: which one mounts is known on each node only.
func (s *Stager) checkVolumeOptions(d demand) error {
	if len(d.options) == 0 {
		return nil
	}
	for _, m := range []struct {
		name    volumecontext.Mounter
		other   volumecontext.Mounter
		own     []string
		mounter Mounter
	}{
		{volumecontext.Kernel, volumecontext.Fuse, d.KernelOptions, s.Kernel},
		{volumecontext.Fuse, volumecontext.Kernel, d.FuseOptions, s.Fuse},
	} {
		if d.Mounter == m.other {
			continue
		}
		if err := m.mounter.CheckOptions(slices.Concat(m.own, d.options)); err != nil {
			return fmt.Errorf("mount options of the volume, for mounter %s (options that only one client has belong into %s or %s of the StorageClass): %w",
				m.name, volumecontext.KeyKernelMountOptions, volumecontext.KeyFuseMountOptions, err)
		}
	}
	return nil
}

// credential is who mounts. It has no text form, so that no log or error can hold the key.
type credential struct {
	user string
	key  []byte
}

// String keeps a credential out of whatever prints it.
func (credential) String() string { return "(credential)" }

// GoString is String for %#v.
func (c credential) GoString() string { return c.String() }

// forget overwrites the key. What the request itself holds of it can't be: it is text, which goes with the request.
func (c credential) forget() { clear(c.key) }

// credentialOf reads the secrets of a request. The error wraps volume.ErrInvalid and holds no secret.
func credentialOf(secrets map[string]string) (credential, error) {
	user, key := strings.TrimSpace(secrets[SecretUser]), strings.TrimSpace(secrets[SecretKey])
	if user == "" || key == "" {
		return credential{}, fmt.Errorf("%w: the request's secret must have %s (a cephx identity, without \"client.\") and %s (its key); "+
			"set csi.storage.k8s.io/node-stage-secret-name and -namespace in the StorageClass", volume.ErrInvalid, SecretUser, SecretKey)
	}
	if err := volume.CheckPart(user); err != nil || strings.HasPrefix(user, "client.") {
		return credential{}, fmt.Errorf("%w: %s in the request's secret is not a cephx identity without \"client.\"", volume.ErrInvalid, SecretUser)
	}
	return credential{user: user, key: []byte(key)}, nil
}
