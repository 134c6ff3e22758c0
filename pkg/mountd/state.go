package mountd

// The records of the mounts, which the next holder finds the clients by.

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// entry is the record of one mount: written before its process starts and removed after it has ended, so that no process is ever
// unknown. It holds no secret. It outlives the holder, not the machine, whose crash ends the processes too: nothing is
// synced to the disk, on which a mount would wait several times.
type entry struct {
	Spec      Spec   `json:"spec"`
	PID       int    `json:"pid"`       // 0: was about to be started
	StartTime string `json:"startTime"` // of the process, see startTime: tells it from a later one of the same number
	// Device is the mount's superblock, "major:minor"; "" until it is mounted. All bind mounts of the client show it, and no other client's.
	Device string    `json:"device,omitempty"`
	Since  time.Time `json:"since"`
	// Ready, of strata-coldfs: it was heard to serve the mount. Init is the kernel's first request, which it says but once: a later engine needs it to go on
	// with the connection.
	Ready bool   `json:"ready,omitempty"`
	Init  []byte `json:"init,omitempty"`
}

// owns tells whether a row of the mount table shows what the client serves.
func (e entry) owns(m mountpoint.Mount) bool {
	return m.Source == e.Spec.Source && (e.Device == "" || e.Device == device(m))
}

// elsewhere returns the paths, other than the client's own mountpoint, where what it serves is mounted.
func (e entry) elsewhere(t mountpoint.Table) []string {
	var paths []string
	for _, m := range t {
		if e.owns(m) && m.Path != e.Spec.Mountpoint {
			paths = append(paths, m.Path)
		}
	}
	return paths
}

func device(m mountpoint.Mount) string { return fmt.Sprintf("%d:%d", m.Major, m.Minor) }

// store is the directory of the records, locked against a second holder.
type store struct {
	dir  string
	lock *os.File
}

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another strata-mountd uses the state directory %s: two must not share one", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return &store{dir: dir, lock: lock}, nil
}

func (s *store) close() { _ = s.lock.Close() }

const (
	suffix      = ".json"
	asideSuffix = ".unreadable"
)

// name of the files of a mount: a mountpoint can be longer than a file name.
func name(mountpoint string) string {
	sum := sha256.Sum256([]byte(mountpoint))
	return fmt.Sprintf("%x", sum[:12])
}

func (s *store) path(mountpoint string) string {
	return filepath.Join(s.dir, name(mountpoint)+suffix)
}

// put writes a record so that the death of the holder leaves the old one or the new one.
func (s *store) put(e entry) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	path := s.path(e.Spec.Mountpoint)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Close())
	if err != nil {
		return fmt.Errorf("record of %s: %w", e.Spec.Mountpoint, err)
	}
	return os.Rename(path+".new", path)
}

func (s *store) remove(mountpoint string) error {
	if err := os.Remove(s.path(mountpoint)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// all reads every record. unreadable are those that say nothing this version understands: they are put aside, for a person to look at,
// and don't keep the holder from the others. The client of such a record is found again when its mount is asked for.
func (s *store) all() (entries []entry, unreadable []string, err error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), suffix) {
			continue
		}
		path := filepath.Join(s.dir, f.Name())
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		var e entry
		if json.Unmarshal(raw, &e) == nil && s.path(e.Spec.Mountpoint) == path {
			entries = append(entries, e)
			continue
		}
		if err := os.Rename(path, path+asideSuffix); err != nil {
			return nil, nil, err
		}
		unreadable = append(unreadable, path+asideSuffix)
	}
	return entries, unreadable, nil
}
