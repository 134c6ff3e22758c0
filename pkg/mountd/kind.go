package mountd

// What differs between the kinds of mounts. Records, locks, adoption and the question whom a client still serves are the same for all of them and know
// nothing of what is here.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// kind is one way to serve a mount.
type kind interface {
	// check says what is wrong with the fields of a spec that are the kind's own, "" when nothing is.
	check(s Spec) string
	// secret turns what came with a request into what the client reads from its descriptor. The error holds nothing of it.
	secret(raw []byte) ([]byte, error)
	// start starts the client of a spec. secret and log stay the caller's to close.
	start(ctx context.Context, s Spec, secret, log *os.File) (client, error)
	// find looks for a client of a mountpoint that no record knows. same: it was started for this very spec. pid 0: there is none.
	find(s Spec) (pid int, same bool)
}

// client is a process that serves a mount, as this holder has started it. One that was adopted has none: what its holder had of it is gone.
type client interface {
	// process is the one that was started.
	process() *exec.Cmd
	// mounted waits until the mount is there and served, and returns its device, or what the client says of its failure. ended is closed at the client's end.
	mounted(ctx context.Context, ended <-chan struct{}) (device string, err error)
	// accepted says, once the mount answers, whether the client took all that it was told.
	accepted() error
	// release lets go of what the holder has of a client that has ended.
	release()
}

// program is a kind's program, as far as others ask.
type program struct {
	path string // or a name to look for
	hint string // what to do when it isn't there
	// descriptor is the number under which a client finds its secret.
	descriptor int
	counts     counts
}

// available says why no client can be started, or nil.
func (p *program) available() error {
	if _, err := exec.LookPath(p.path); err != nil {
		return fmt.Errorf("%w: %w; %s", ErrFailed, err, p.hint)
	}
	return nil
}

// served is a kind with its program.
type served struct {
	kind
	*program
}

// kindsOf are those that a holder serves.
func kindsOf(o Options, logDir string) map[string]served {
	all := map[string]served{}
	if o.CephFuse != "" {
		k := &cephFuse{binary: o.CephFuse, logDir: logDir}
		all[KindCephFuse] = served{k, &program{path: o.CephFuse, hint: "install the package ceph-fuse", descriptor: keyDescriptor}}
	}
	if o.ColdFS.Binary != "" {
		k := &coldFS{ColdFSOptions: o.ColdFS, logDir: logDir}
		all[KindColdFS] = served{k, &program{path: o.ColdFS.Binary, hint: "install strata-coldfs beside strata-mountd", descriptor: k.descriptor()}}
	}
	return all
}

// of finds the kind of a spec. The error wraps ErrInvalid.
func (h *holder) of(s Spec) (served, error) {
	k, ok := h.kinds[s.Kind]
	if !ok {
		return served{}, fmt.Errorf("%w: kind %q is not served here, only %s; the flags of strata-mountd say which are", ErrInvalid, s.Kind, strings.Join(h.kindNames(), ", "))
	}
	return k, nil
}

func (h *holder) kindNames() []string {
	var names []string
	for name := range h.kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// check refuses a spec that is wrong for what it says it is.
func (h *holder) check(s Spec) error {
	k, err := h.of(s)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return err
	}
	if wrong := k.check(s); wrong != "" {
		return fmt.Errorf("%w: %s", ErrInvalid, wrong)
	}
	return nil
}

// available says why a kind can't be used, or nil; "" are all that are served.
func (h *holder) available(name string) error {
	if name != "" {
		k, err := h.of(Spec{Kind: name})
		if err != nil {
			return err
		}
		return k.available()
	}
	var errs []error
	for _, name := range h.kindNames() {
		errs = append(errs, h.kinds[name].available())
	}
	return errors.Join(errs...)
}

// flags are the mount flags that an option of a spec may be, with what mount(2) calls them.
func flags() map[string]uintptr {
	return map[string]uintptr{"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
		"nosuid": unix.MS_NOSUID, "sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC}
}
