package ceph

// Identities of cephx: one for each volume, minted and removed by the monitors. The monitors are asked, and not the manager's
// `fs subvolume authorize`, because they work beside its lock: docs/decisions/0030.

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// Key is a secret of cephx. It prints as "(key)", so that no log and no error holds it.
type Key struct{ text string }

// NewKey wraps the text of a key.
func NewKey(text string) Key { return Key{text} }

// Reveal is the text itself, for the one place that stores it.
func (k Key) Reveal() string { return k.text }

func (Key) String() string { return "(key)" }

// GoString is String for %#v.
func (k Key) GoString() string { return k.String() }

// Identity is a cephx user that may use one directory of one file system, and the objects of one RADOS namespace of one pool.
type Identity struct {
	Name      string // without "client."
	FS        string
	Path      string // the directory; what is below it is meant too
	Pool      string
	Namespace string // never empty: without one the whole pool would be meant
	ReadOnly  bool
}

// noManager is a capability of the manager that allows nothing: there is no such command. It is named so that the controller's own
// capabilities can say that an identity has this and no other; what isn't named they can't forbid.
const noManager = "allow command none"

// capabilities are those of the identity, in the order in which the command takes them. Syntax:
// https://docs.ceph.com/en/latest/cephfs/client-auth/ and https://docs.ceph.com/en/latest/rados/operations/user-management/.
func (i Identity) capabilities() []string {
	access := "rw"
	if i.ReadOnly {
		access = "r"
	}
	return []string{
		"mon", "allow r fsname=" + i.FS,
		"mgr", noManager,
		"mds", fmt.Sprintf("allow %s fsname=%s path=%s", access, i.FS, i.Path),
		"osd", fmt.Sprintf("allow %s pool=%s namespace=%s", access, i.Pool, i.Namespace),
	}
}

// ErrOtherCapabilities says that an identity of the name exists with other capabilities.
var ErrOtherCapabilities = errors.New("the identity exists with other capabilities")

// Mint makes the identity, or finds it, and returns its key: the same to everybody who asks for the same. ErrOtherCapabilities: it is
// there and may do something else.
func Mint(ctx context.Context, conn Conn, i Identity) (Key, error) {
	raw, err := conn.Mon(ctx, map[string]any{"prefix": "auth get-or-create", "entity": "client." + i.Name, "caps": i.capabilities(), "format": "json"})
	if errors.Is(err, syscall.EINVAL) {
		return Key{}, fmt.Errorf("%w: %w", ErrOtherCapabilities, err)
	}
	if err != nil {
		return Key{}, err
	}
	var made []struct {
		Entity string `json:"entity"`
		Key    string `json:"key"`
	}
	// The answer holds the key, so an error must not quote it.
	if err := decode("auth get-or-create", raw, &made); err != nil || len(made) != 1 || made[0].Entity != "client."+i.Name || made[0].Key == "" {
		return Key{}, fmt.Errorf("auth get-or-create entity=client.%s: the monitors answer without a key", i.Name)
	}
	return NewKey(made[0].Key), nil
}

// Unmint removes an identity; one that isn't there is no error.
func Unmint(ctx context.Context, conn Conn, name string) error {
	_, err := conn.Mon(ctx, map[string]any{"prefix": "auth rm", "entity": "client." + name})
	if Absent(err) { // since Ceph 17; before, it is a success
		return nil
	}
	return err
}
