package mountd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/strata-csi/strata/pkg/coldfs/control"
)

// The protocol: one request and its reply per connection, in JSON messages of one SOCK_SEQPACKET datagram each. A reply has one message, that
// of a list one for every mount before the last: a node may have more of them than fit into one. The secret of a
// start or renew, a key or an access key, comes with the request as a descriptor (SCM_RIGHTS) of a memfd.

const (
	// Version of the protocol. A server refuses any other, so that a holder that wasn't upgraded with strata-node says so. What was added since needs no
	// other: a holder that doesn't know a kind or an operation refuses that alone, and goes on serving what it knows.
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
	opRenew = "renew"
)

type request struct {
	Version    int           `json:"version"`
	Op         string        `json:"op"`
	Spec       *Spec         `json:"spec,omitempty"`       // of start
	Mountpoint string        `json:"mountpoint,omitempty"` // of stop and renew
	Kind       string        `json:"kind,omitempty"`       // of ping; empty: all that are served
	Timeout    time.Duration `json:"timeout,omitempty"`    // of the caller, in nanoseconds
}

type reply struct {
	Version int     `json:"version"`
	Code    string  `json:"code,omitempty"` // of codes; empty: done
	Message string  `json:"message,omitempty"`
	Mount   *Status `json:"mount,omitempty"` // of list: one in each message
	More    bool    `json:"more,omitempty"`  // another message follows
}

// The kinds of mounts: what serves them.
const (
	KindCephFuse = "ceph-fuse"
	KindColdFS   = "strata-coldfs"
)

// Spec says what to mount where. It holds no secret.
type Spec struct {
	Kind       string `json:"kind"`
	Mountpoint string `json:"mountpoint"` // an existing directory, absolute and clean
	// Source is what the mount table shows as the mount's source.
	Source   string   `json:"source"`
	Monitors []string `json:"monitors"` // of ceph-fuse: host:port
	User     string   `json:"user"`     // of ceph-fuse: Ceph user without "client."
	FS       string   `json:"fs"`       // of ceph-fuse
	Path     string   `json:"path"`     // of ceph-fuse: in the file system, absolute
	ReadOnly bool     `json:"readOnly,omitempty"`
	// Options are bare mount flags, and with ceph-fuse NAME=VALUE settings of the client. The caller checks them against its allow-list; here only
	// kinds of them are refused, those that could name a file of the node or another place to mount among them.
	Options []string `json:"options,omitempty"`
	// Engine, of strata-coldfs, is a config.Config of pkg/coldfs without the settings that are the node's: the cache and the memory.
	Engine json.RawMessage `json:"engine,omitempty"`
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
	// Conditions are what an engine of tier cold says is wrong with its volume by now.
	Conditions []control.Condition `json:"conditions,omitempty"`
	// Detached: the engine was started by an earlier holder, and so takes no new credentials and says nothing of its condition.
	Detached bool `json:"detached,omitempty"`
}

// Errors of the server, as errors.Is finds them on the client's side.
var (
	ErrInvalid     = errors.New("strata-mountd refuses the request")
	ErrDenied      = errors.New("the backend refuses the credential")
	ErrNotFound    = errors.New("what is to be mounted doesn't exist")
	ErrUnreachable = errors.New("the backend doesn't answer")
	ErrConflict    = errors.New("something else is mounted there")
	ErrBusy        = errors.New("the mount is in use")
	ErrFailed      = errors.New("the mount failed")
	// ErrDetached: see Status.Detached.
	ErrDetached = errors.New("the client was started by an earlier strata-mountd")
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
		{"unreachable", ErrUnreachable}, {"busy", ErrBusy}, {"detached", ErrDetached}, {codeFailed, ErrFailed},
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

// mountForm has no character that a shell reads: ceph-fuse may give its mountpoint to one (client_try_dentry_invalidate).
var mountForm = regexp.MustCompile(`^/[A-Za-z0-9_.~@:+,=/-]+$`)

func cleanPath(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/" && !strings.ContainsAny(path, "\x00\n")
}

// check refuses what is wrong for every kind.
func (s Spec) check() error {
	switch {
	case !cleanPath(s.Mountpoint), !mountForm.MatchString(s.Mountpoint):
		return fmt.Errorf("%w: mountpoint %q is not a clean absolute path of [A-Za-z0-9_.~@:+,=-]", ErrInvalid, s.Mountpoint)
	case !wordForm.MatchString(s.Source):
		return fmt.Errorf("%w: source %q must be a word of [A-Za-z0-9_.:-]", ErrInvalid, s.Source)
	}
	return nil
}

func (s Spec) equal(o Spec) bool {
	return s.Kind == o.Kind && s.Mountpoint == o.Mountpoint && s.Source == o.Source && slices.Equal(s.Monitors, o.Monitors) &&
		s.User == o.User && s.FS == o.FS && s.Path == o.Path && s.ReadOnly == o.ReadOnly && slices.Equal(s.Options, o.Options) &&
		bytes.Equal(s.Engine, o.Engine)
}
