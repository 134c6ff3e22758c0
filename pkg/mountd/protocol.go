package mountd

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The protocol: one request and its reply per connection, in JSON messages of one SOCK_SEQPACKET datagram each. A reply has one message, that
// of a list one for every mount before the last: a node may have more of them than fit into one. The key of a
// start comes with the request as a descriptor (SCM_RIGHTS) of a memfd.

const (
	// Version of the protocol. A server refuses any other, so that a holder that wasn't upgraded with strata-node says so.
	Version = 1
	// maxMessage is the largest message, in bytes, and maxRequest the largest request: what is told of a mount has its spec in it.
	maxMessage = 64 << 10
	maxRequest = 32 << 10
)

// What a request asks for.
const (
	opPing  = "ping"
	opStart = "start"
	opStop  = "stop"
	opList  = "list"
)

type request struct {
	Version    int           `json:"version"`
	Op         string        `json:"op"`
	Spec       *Spec         `json:"spec,omitempty"`       // of start
	Mountpoint string        `json:"mountpoint,omitempty"` // of stop
	Timeout    time.Duration `json:"timeout,omitempty"`    // of the caller, in nanoseconds
}

type reply struct {
	Version int     `json:"version"`
	Code    string  `json:"code,omitempty"` // of codes; empty: done
	Message string  `json:"message,omitempty"`
	Mount   *Status `json:"mount,omitempty"` // of list: one in each message
	More    bool    `json:"more,omitempty"`  // another message follows
}

// KindCephFuse is the kind of mount that a ceph-fuse process serves.
const KindCephFuse = "ceph-fuse"

// Spec says what to mount where. It holds no secret.
type Spec struct {
	Kind       string `json:"kind"`
	Mountpoint string `json:"mountpoint"` // an existing directory, absolute and clean
	// Source is what the mount table shows as the mount's source.
	Source   string   `json:"source"`
	Monitors []string `json:"monitors"` // host:port
	User     string   `json:"user"`     // Ceph user without "client."
	FS       string   `json:"fs"`
	Path     string   `json:"path"` // in the file system, absolute
	ReadOnly bool     `json:"readOnly,omitempty"`
	// Options are NAME=VALUE settings of the client or bare mount flags. The caller checks them against its allow-list; here only
	// kinds of them are refused, those that could name a file of the node or another place to mount among them.
	Options []string `json:"options,omitempty"`
}

// State of a mount.
type State string

// The states: Starting ends in one of the others.
const (
	Starting State = "starting"
	Running  State = "running"
	Exited   State = "exited" // the process is gone, the mount is dead
)

// Status is what the holder knows of a mount.
type Status struct {
	Spec  Spec      `json:"spec"`
	State State     `json:"state"`
	PID   int       `json:"pid,omitempty"`
	Since time.Time `json:"since"`
	// Elsewhere are the paths, other than its mountpoint, where what it serves is mounted: the bind mounts of the pods.
	Elsewhere []string `json:"elsewhere,omitempty"`
	// Exit says how the process ended and what it wrote last, when it has.
	Exit string `json:"exit,omitempty"`
}

// Errors of the server, as errors.Is finds them on the client's side.
var (
	ErrInvalid     = errors.New("strata-mountd refuses the request")
	ErrDenied      = errors.New("the cluster refuses the credential")
	ErrNotFound    = errors.New("the path or file system doesn't exist")
	ErrUnreachable = errors.New("the cluster doesn't answer")
	ErrConflict    = errors.New("something else is mounted there")
	ErrBusy        = errors.New("the mount is in use")
	ErrFailed      = errors.New("the mount failed")
	// ErrNoServer: nothing answers on the socket.
	ErrNoServer = errors.New("strata-mountd doesn't answer")
)

// codes are the names of the errors in a reply. An error that is several has the first name: what can't help by itself comes before what may.
func codes() []struct {
	code     string
	sentinel error
} {
	return []struct {
		code     string
		sentinel error
	}{
		{"invalid", ErrInvalid}, {"denied", ErrDenied}, {"not-found", ErrNotFound}, {"conflict", ErrConflict},
		{"unreachable", ErrUnreachable}, {"busy", ErrBusy}, {codeFailed, ErrFailed},
	}
}

// codeFailed is the code of every other error too.
const codeFailed = "failed"

func codeOf(err error) string {
	for _, row := range codes() {
		if errors.Is(err, row.sentinel) {
			return row.code
		}
	}
	return codeFailed
}

func errorOf(code string) error {
	for _, row := range codes() {
		if row.code == code {
			return row.sentinel
		}
	}
	return ErrFailed
}

var (
	wordForm    = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.:-]*$`)
	monitorForm = regexp.MustCompile(`^[A-Za-z0-9.:\[\]-]+$`)
	optionForm  = regexp.MustCompile(`^(client|fuse|rados)_[a-z0-9_]+=[A-Za-z0-9_.:+-]+$|^(noatime|nodiratime|nodev|noexec|nosuid|sync|dirsync)$`)
	// mountForm has no character that a shell reads: ceph-fuse may give its mountpoint to one (client_try_dentry_invalidate).
	mountForm = regexp.MustCompile(`^/[A-Za-z0-9_.~@:+,=/-]+$`)
)

// place are the settings that say what is mounted, which is for the other fields of a spec to say.
func place() []string { return []string{"client_mountpoint=", "client_fs=", "client_mds_namespace="} }

// check refuses a spec that could mean anything else on a command line than what it says.
func (s Spec) check() error {
	clean := func(path string) bool {
		return filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/" && !strings.ContainsAny(path, "\x00\n")
	}
	var wrong string
	switch {
	case s.Kind != KindCephFuse:
		wrong = fmt.Sprintf("kind %q is not %s", s.Kind, KindCephFuse)
	case !clean(s.Mountpoint), !mountForm.MatchString(s.Mountpoint):
		wrong = fmt.Sprintf("mountpoint %q is not a clean absolute path of [A-Za-z0-9_.~@:+,=-]", s.Mountpoint)
	case !clean(s.Path):
		wrong = fmt.Sprintf("path %q is not a clean absolute path", s.Path)
	case !wordForm.MatchString(s.User), !wordForm.MatchString(s.FS), !wordForm.MatchString(s.Source):
		wrong = fmt.Sprintf("user %q, fs %q and source %q must be words of [A-Za-z0-9_.:-]", s.User, s.FS, s.Source)
	case len(s.Monitors) == 0 || slices.ContainsFunc(s.Monitors, func(m string) bool { return !monitorForm.MatchString(m) }):
		wrong = fmt.Sprintf("monitors %q must be host:port", s.Monitors)
	default:
		for _, o := range s.Options {
			placed := slices.ContainsFunc(place(), func(name string) bool { return strings.HasPrefix(o, name) })
			if placed || !optionForm.MatchString(o) {
				wrong = fmt.Sprintf("option %q is neither a flag of a mount nor NAME=VALUE of a client_, fuse_ or rados_ setting", o)
			}
		}
	}
	if wrong != "" {
		return fmt.Errorf("%w: %s", ErrInvalid, wrong)
	}
	return nil
}

func (s Spec) equal(o Spec) bool {
	return s.Kind == o.Kind && s.Mountpoint == o.Mountpoint && s.Source == o.Source && slices.Equal(s.Monitors, o.Monitors) &&
		s.User == o.User && s.FS == o.FS && s.Path == o.Path && s.ReadOnly == o.ReadOnly && slices.Equal(s.Options, o.Options)
}
