package mountd

// What the clients print: one file for each mount, which must neither end a client nor fill the node's disk.

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	tailBytes = 1500
	tailLines = 5
	// headBytes is enough for all that a client prints until it has mounted or failed.
	headBytes = 64 << 10
	// logLimit is how much a log may hold, in bytes, before all but its end is dropped; tidyTime is how often that is looked at.
	logLimit = 4 << 20
	tidyTime = time.Minute
	// logAge is how long the log of a mount that is gone is kept: it may say why it never came to be.
	logAge = 7 * 24 * time.Hour
)

// openLog opens the log of a mount for a new process; that of the one before is kept beside it. It must not be a pipe: a client that
// outlives its holder would die of it.
func openLog(dir, mountpoint string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := logPath(dir, mountpoint)
	if err := os.Rename(path, path+oldSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

const oldSuffix = ".old"

func logPath(dir, mountpoint string) string { return filepath.Join(dir, name(mountpoint)+".log") }

// tail returns the last lines of a mount's log, on one line.
func tail(dir, mountpoint string) string {
	f, err := os.Open(logPath(dir, mountpoint))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = f.Seek(-tailBytes, 2)
	}
	raw := make([]byte, tailBytes)
	n, _ := f.Read(raw)
	lines := strings.FieldsFunc(string(raw[:n]), func(c rune) bool { return c == '\n' })
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return secretForm.ReplaceAllString(strings.Join(lines, " | "), "[redacted]")
}

// secretForm is what a cephx key looks like, should a client ever print one: base64 of 28 bytes.
var secretForm = regexp.MustCompile(`[A-Za-z0-9+/]{28,}={1,2}`)

// head returns the beginning of a mount's log.
func head(dir, mountpoint string) []byte {
	f, err := os.Open(logPath(dir, mountpoint))
	if err != nil {
		return nil
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, headBytes))
	if err != nil {
		return nil
	}
	return raw
}

func removeLog(dir, mountpoint string) error {
	var errs []error
	for _, path := range []string{logPath(dir, mountpoint), logPath(dir, mountpoint) + oldSuffix} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// logForm tells a log of ours from what else may be in the directory.
var logForm = regexp.MustCompile(`^([0-9a-f]{24})\.log(\.old)?$`)

// tidyLogs shortens the logs that have grown past the limit and removes those of mounts that have long been gone. known has the names
// of the mounts there are.
func tidyLogs(dir string, known map[string]bool, now time.Time) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no client has been started yet
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		parts := logForm.FindStringSubmatch(file.Name())
		info, err := file.Info()
		if parts == nil || err != nil {
			continue // not ours, or gone since
		}
		path := filepath.Join(dir, file.Name())
		switch {
		case !known[parts[1]] && now.Sub(info.ModTime()) > logAge:
			errs = append(errs, os.Remove(path))
		case info.Size() > logLimit && parts[2] == "":
			errs = append(errs, shorten(path, info.Size()))
		}
	}
	return errors.Join(errs...)
}

// shorten keeps the end of a log beside it and empties it. Its client goes on at the new end: it has opened the file for appending.
func shorten(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	end := make([]byte, logLimit/4)
	n, err := f.ReadAt(end, max(0, size-int64(len(end))))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return errors.Join(os.WriteFile(path+oldSuffix, end[:n], 0o600), f.Truncate(0))
}
