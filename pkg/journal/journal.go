// Package journal keeps small records in one directory so that neither a crash nor a power cut loses or halves one: what Put or
// Delete has returned for is on the disk, and what an interrupted call leaves is the old record or the new one.
//
// One process at a time has a journal, by a lock that ends with it. Records are JSON, one file each, KEY.json, for an operator to read.
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
)

var (
	// ErrNotFound: there is no record of that key.
	ErrNotFound = errors.New("no such record")
	// ErrLocked: another process has the journal.
	ErrLocked = errors.New("journal is in use")
	// ErrClosed: the journal was closed, and may be another process's by now.
	ErrClosed = errors.New("journal is closed")
	// ErrKey: the key can't name a record.
	ErrKey = errors.New("invalid journal key")
)

const (
	lockName   = "lock"
	suffix     = ".json" // of a record
	tempSuffix = ".tmp"  // of a record that is being written; its name begins with '.'
	maxKey     = 128     // bytes; a file name has 255
)

// Journal is an open journal. Its methods can be called from many goroutines; calls for one key at the same time end in any order.
type Journal struct {
	root *os.Root // not a path: when the directory is moved away or mounted over, records still meet their lock
	lock *os.File
	temp atomic.Int64 // tells the temporary files of one process apart

	mu     sync.RWMutex // held for writing by Close alone
	closed bool
}

// Open opens the journal of dir, which it makes (mode 0700) when it isn't there, and removes what interrupted writes left. An error
// that wraps ErrLocked names the process that has it. A directory in which others could write is refused: its records are trusted.
func Open(dir string) (*Journal, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{root: root}
	if err := j.open(); err != nil {
		if j.lock != nil {
			_ = j.lock.Close()
		}
		_ = root.Close()
		return nil, fmt.Errorf("journal %s: %w", dir, err)
	}
	return j, nil
}

func (j *Journal) open() error {
	info, err := j.root.Stat(".")
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("others than its owner may write in it (mode %#o), and could forge records: make it their own with `chmod 700`, after a look at what it holds", mode)
	}
	if err := j.takeLock(); err != nil {
		return err
	}
	if err := j.removeTemps(); err != nil {
		return err
	}
	return j.syncDir()
}

// makeDir makes the directory and those above it, so that they are there after a power cut.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFile(os.Open(parent))
}

// takeLock takes the lock, flock(2), which the kernel ends with the process. The file stays and says whose it is or was.
func (j *Journal) takeLock() error {
	f, err := j.root.OpenFile(lockName, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	j.lock = f
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%w by %s: stop it, or give each its own directory", ErrLocked, holder(f))
		}
		return fmt.Errorf("lock it: %w", err)
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	if _, err := f.WriteAt([]byte(fmt.Sprintf("%d\n", os.Getpid())), 0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	return nil
}

// holder names the process that has the lock, as far as the file tells: it may be writing its number just now, or count in another
// PID namespace.
func holder(f *os.File) string {
	raw, err := io.ReadAll(io.LimitReader(f, 32))
	if pid := strings.TrimSpace(string(raw)); err == nil && pid != "" {
		return "process " + pid
	}
	return "another process"
}

func (j *Journal) removeTemps() error {
	names, err := j.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, ".") && strings.HasSuffix(name, tempSuffix) {
			if err := j.root.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Put writes v as the record of key. After an error the record is the old one or, when only its way to the disk is in doubt, the new one.
func (j *Journal) Put(key string, v any) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("journal record %s: %w", key, err)
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return fmt.Errorf("write journal record %s: %w", key, ErrClosed)
	}
	if err := j.put(key, append(raw, '\n')); err != nil {
		hint := ""
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			hint = "; make room on the file system of " + j.root.Name()
		}
		return fmt.Errorf("write journal record %s: %w%s", j.path(key), err, hint)
	}
	return nil
}

func (j *Journal) put(key string, raw []byte) error {
	temp := fmt.Sprintf(".%s.%d%s", key, j.temp.Add(1), tempSuffix)
	f, err := j.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	failpoint.Hit("journal/put/after-create")
	_, err = f.Write(raw)
	failpoint.Hit("journal/put/after-write")
	if err == nil {
		err = f.Sync()
	}
	failpoint.Hit("journal/put/after-sync")
	if err = errors.Join(err, f.Close()); err == nil {
		err = j.root.Rename(temp, key+suffix)
	}
	if err != nil {
		// What can't be removed now, the next Open removes.
		_ = j.root.Remove(temp)
		return err
	}
	failpoint.Hit("journal/put/after-rename")
	err = j.syncDir()
	failpoint.Hit("journal/put/after-sync-directory")
	return err
}

// Delete removes the record; one that isn't there is no error.
func (j *Journal) Delete(key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return fmt.Errorf("delete journal record %s: %w", key, ErrClosed)
	}
	err := j.root.Remove(key + suffix)
	failpoint.Hit("journal/delete/after-unlink")
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		// Also when it was gone: an interrupted Delete may have had no time for it.
		err = j.syncDir()
	}
	failpoint.Hit("journal/delete/after-sync-directory")
	if err != nil {
		return fmt.Errorf("delete journal record %s: %w", j.path(key), err)
	}
	return nil
}

// Load reads the record of key into v. A record that can't be read, torn by a fault of the disk or written by somebody else, is an
// error that names its file; it is never taken for one that isn't there, which is ErrNotFound.
func (j *Journal) Load(key string, v any) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return fmt.Errorf("read journal record %s: %w", key, ErrClosed)
	}
	raw, err := j.root.ReadFile(key + suffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("journal record %s: %w", key, ErrNotFound)
	case err != nil:
		return fmt.Errorf("read journal record %s: %w", j.path(key), err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("journal record %s is damaged (%d bytes): %w; find out what it was for, undo that by hand, then move the file away",
			j.path(key), len(raw), err)
	}
	return nil
}

// Keys returns the keys of all records, sorted. A file that has the form of a record and can't be one is an error; others are none of ours.
func (j *Journal) Keys() ([]string, error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return nil, fmt.Errorf("list journal records: %w", ErrClosed)
	}
	names, err := j.names()
	if err != nil {
		return nil, fmt.Errorf("list journal records of %s: %w", j.root.Name(), err)
	}
	var keys []string
	for _, name := range names {
		key, ok := strings.CutSuffix(name, suffix)
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		if err := CheckKey(key); err != nil {
			return nil, fmt.Errorf("journal record %s was not written by us: move it away: %w", j.path(key), err)
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys, nil
}

// Close gives the journal to the next process. It waits for calls that run; later ones get ErrClosed.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	return errors.Join(j.lock.Close(), j.root.Close())
}

// CheckKey refuses a key that isn't 1 to 128 of [A-Za-z0-9._-] or begins with '.'. The error wraps ErrKey.
func CheckKey(key string) error {
	ok := len(key) >= 1 && len(key) <= maxKey && key[0] != '.'
	for i := 0; ok && i < len(key); i++ {
		c := key[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("%w: %q is not 1 to %d of [A-Za-z0-9._-], or begins with '.'", ErrKey, key, maxKey)
	}
	return nil
}

func (j *Journal) path(key string) string { return filepath.Join(j.root.Name(), key+suffix) }

func (j *Journal) names() ([]string, error) {
	d, err := j.root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	return names, errors.Join(err, d.Close())
}

func (j *Journal) syncDir() error { return syncFile(j.root.Open(".")) }

func syncFile(f *os.File, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
