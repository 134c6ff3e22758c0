package client

// What Stage refuses before it touches anything: a context that contradicts the id, options that a mount doesn't take, a request without a usable credential.

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/volume"
)

// mountFlags are the mount options that a PersistentVolume may have, besides ro and rw. How the engine works is for the parameters of the class.
func mountFlags() []string { return []string{"noatime", "nodiratime", "nodev", "noexec", "nosuid"} }

// CheckContext implements tier.Stager.
func (s *Stager) CheckContext(id volume.ID, context map[string]string, options []string) error {
	_, err := check(id, context, options)
	return err
}

// demand is a checked request, without its secrets.
type demand struct {
	volumecontext.Context
	readOnly bool     // by the volume or by the PersistentVolume's mount options
	options  []string // of the PersistentVolume, without what says read-only
}

func check(id volume.ID, context map[string]string, options []string) (demand, error) {
	c, err := volumecontext.Parse(id, context)
	if err != nil {
		return demand{}, err
	}
	d := demand{Context: c, readOnly: c.ReadOnly}
	for _, o := range options {
		switch {
		case o == "ro":
			d.readOnly = true
		case o == "rw": // what it is without saying so
		case !slices.Contains(mountFlags(), o):
			known := append(mountFlags(), "ro", "rw")
			name, _, _ := strings.Cut(o, "=")
			return demand{}, fmt.Errorf("%w: unknown mount option %q of a cold volume%s; allowed are %s; what else there is to choose are parameters of the StorageClass",
				volume.ErrInvalid, o, suggest.Hint(name, known), strings.Join(known, ", "))
		case !slices.Contains(d.options, o):
			d.options = append(d.options, o)
		}
	}
	return d, nil
}

// credential is who reads and writes. It has no text form, so that no log or error can hold the secret.
type credential struct{ text []byte }

// String keeps a credential out of whatever prints it.
func (credential) String() string { return "(credential)" }

// GoString is String for %#v.
func (c credential) GoString() string { return c.String() }

// forget overwrites it. What the request itself holds of it can't be: it is text, which goes with the request.
func (c credential) forget() { clear(c.text) }

// credentialOf reads the secrets of a request. The error wraps volume.ErrInvalid and holds no secret.
func credentialOf(secrets map[string]string) (secret.Secret, credential, error) {
	if len(secrets) == 0 {
		return secret.Secret{}, credential{}, fmt.Errorf("%w: no secret came with the request, and the engine of a cold volume needs the access key of its store: "+
			"set csi.storage.k8s.io/node-stage-secret-name and -namespace in the StorageClass, or nodeStageSecretRef in a PersistentVolume made by hand", volume.ErrInvalid)
	}
	s, err := secret.Parse(secrets)
	if err != nil {
		return secret.Secret{}, credential{}, err
	}
	text, err := json.Marshal(control.Credentials(s.Credentials))
	return s, credential{text}, err
}
