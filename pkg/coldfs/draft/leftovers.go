package draft

// What is on the disk, and what is left there by engines that were killed.
//
// Each store has a directory with a lock (flock), which ends with its process: a directory whose lock can be taken belongs to nobody. Staged files of it are removed, whoever made them. Uploads were
// recorded; those that are the same owner's are ended, those of others wait for their own next engine, who has the credential. An upload whose engine died before it had its
// id is recorded nowhere: it goes with the volume, or by a lifecycle rule of the bucket.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

const (
	lockName     = "lock"
	ownerName    = "owner"
	recordSuffix = ".upload"

	abortPatience = time.Minute
)

// home is the directory of one store.
type home struct {
	dir  string
	lock *os.File
}

// record is an upload that was begun.
type record struct {
	Key string `json:"key"`
	ID  string `json:"id"`
}

// settle makes a directory for a store, and takes over those of dead ones that have something for this owner to do.
func settle(dir, owner string, log klog.Logger) (own *home, dead []*home, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	// While it is held no store is half made.
	all, err := lockFile(filepath.Join(dir, lockName), unix.LOCK_EX)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = all.Close() }()

	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		h, err := takeOver(filepath.Join(dir, e.Name()), owner)
		if err != nil {
			// What can't be cleared away takes room, and is no reason not to start.
			log.Error(err, "What a dead engine left can't be removed", "directory", e.Name())
		}
		if h != nil {
			dead = append(dead, h)
		}
	}
	own = &home{dir: filepath.Join(dir, rand.Text())}
	if err := own.make(owner); err != nil {
		for _, h := range dead {
			h.leave()
		}
		return nil, nil, err
	}
	return own, dead, nil
}

func (h *home) make(owner string) (err error) {
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		return err
	}
	if h.lock, err = lockFile(filepath.Join(h.dir, lockName), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(h.dir, ownerName), []byte(owner), 0o600)
}

func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// takeOver removes the staged files of a directory whose process is dead. It returns the directory if there are uploads left for this owner to end.
func takeOver(dir, owner string) (*home, error) {
	lock, err := lockFile(filepath.Join(dir, lockName), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil // it lives
	}
	if err != nil {
		return nil, err
	}
	h := &home{dir: dir, lock: lock}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	records := false
	for _, e := range entries {
		switch name := e.Name(); {
		case name == lockName || name == ownerName:
		case strings.HasSuffix(name, recordSuffix):
			records = true
		default:
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, errors.Join(err, lock.Close())
			}
		}
	}
	whose, err := os.ReadFile(filepath.Join(dir, ownerName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, lock.Close())
	}
	switch {
	case !records:
		h.leave()
		return nil, nil
	case string(whose) != owner:
		return nil, lock.Close()
	}
	return h, nil
}

// leave removes the directory, unless there are records in it, and gives up its lock.
func (h *home) leave() {
	if left, err := filepath.Glob(filepath.Join(h.dir, "*"+recordSuffix)); err == nil && len(left) == 0 {
		_ = os.Remove(filepath.Join(h.dir, ownerName))
		_ = os.Remove(filepath.Join(h.dir, lockName))
		_ = os.Remove(h.dir)
	}
	_ = h.lock.Close()
}

// bury ends the uploads of a dead store.
func (s *Store) bury(h *home) {
	defer h.leave()
	records, err := filepath.Glob(filepath.Join(h.dir, "*"+recordSuffix))
	if err != nil {
		return
	}
	for _, path := range records {
		s.endRecorded(path)
	}
}

// endRecorded ends the upload of a record, and removes the record when the store has ended it. Otherwise the next engine tries again.
func (s *Store) endRecorded(path string) {
	var r record
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err == nil && r.ID != "" { // a record that was cut off by a kill is of an upload without parts
		ctx, cancel := context.WithTimeout(s.ctx, abortPatience)
		defer cancel()
		if err := s.o.Bucket.Abort(ctx, r.Key, r.ID); err != nil {
			s.o.Logger.Error(err, "An upload that nobody needs can't be ended; the next start tries again", "key", r.Key)
			return
		}
	}
	_ = os.Remove(path)
}

// writeRecord records an upload that was begun.
func (s *Store) writeRecord(path, key, id string) error {
	text, err := json.Marshal(record{Key: key, ID: id})
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// removeRecord is for an upload that has become an object.
func (s *Store) removeRecord(u *upload) { _ = os.Remove(u.record) }
