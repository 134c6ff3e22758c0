// Package attributes keeps the mode, the owner and the time of a file in the metadata of its object, as s3fs does, so that either reads what the other wrote:
// "mode" is st_mode in decimal with the type, "uid" and "gid" are decimal, "mtime" is in seconds since 1970, with a fraction if there is one
// (github.com/s3fs-fuse/s3fs-fuse, src/metaheader.cpp).
package attributes

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The names of the metadata.
const (
	keyMode  = "mode"
	keyUID   = "uid"
	keyGID   = "gid"
	keyMtime = "mtime"
	// keyTarget is the length in bytes of a symlink's target, which stands at the beginning of the object's content.
	keyTarget = "strata-target-length"
)

// SymlinkSize is the size in bytes of every object that is a symlink. A listing has no metadata, so it shows by the size which objects may be symlinks, and only those are asked for more. It is a
// prime above the longest target (4095 bytes, PATH_MAX), so that hardly another object has it.
const SymlinkSize = 4099

// MaxTarget is the longest target of a symlink in bytes (Linux, PATH_MAX without its NUL).
const MaxTarget = 4095

// Attributes are what a file has besides its content and size.
type Attributes struct {
	Mode  uint32 // permissions and type, as st_mode
	UID   uint32
	GID   uint32
	Mtime time.Time
	// Target is the length of a symlink's target in bytes; -1: unknown, it ends with the content or before white space.
	Target int
}

// Type is the type of the file: unix.S_IFREG, S_IFDIR or S_IFLNK.
func (a Attributes) Type() uint32 { return a.Mode & unix.S_IFMT }

// Parse reads metadata. What isn't there, or makes no sense, is as in fallback; so is the type unless it is a symlink's or the same.
func Parse(metadata map[string]string, fallback Attributes) Attributes {
	a := fallback
	if n, err := strconv.ParseUint(metadata[keyMode], 10, 32); err == nil {
		kind := fallback.Type()
		if uint32(n)&unix.S_IFMT == unix.S_IFLNK && kind == unix.S_IFREG {
			kind = unix.S_IFLNK
		}
		a.Mode = kind | uint32(n)&^unix.S_IFMT
	}
	if n, err := strconv.ParseUint(metadata[keyUID], 10, 32); err == nil {
		a.UID = uint32(n)
	}
	if n, err := strconv.ParseUint(metadata[keyGID], 10, 32); err == nil {
		a.GID = uint32(n)
	}
	if t, ok := parseTime(metadata[keyMtime]); ok {
		a.Mtime = t
	}
	a.Target = -1
	if n, err := strconv.ParseUint(metadata[keyTarget], 10, 16); err == nil && n <= MaxTarget {
		a.Target = int(n)
	}
	return a
}

// In tells whether metadata has anything that Parse reads.
func In(metadata map[string]string) bool {
	for _, k := range []string{keyMode, keyUID, keyGID, keyMtime} {
		if metadata[k] != "" {
			return true
		}
	}
	return false
}

// HasTime tells whether metadata has a time.
func HasTime(metadata map[string]string) bool { return metadata[keyMtime] != "" }

// Metadata writes a over metadata, of which everything else stays: what other programs keep there isn't lost by a chmod. Without Mtime the object has the time that the store gives it.
func (a Attributes) Metadata(metadata map[string]string) map[string]string {
	m := make(map[string]string, len(metadata)+4)
	for k, v := range metadata {
		m[k] = v
	}
	m[keyMode] = strconv.FormatUint(uint64(a.Mode), 10)
	m[keyUID] = strconv.FormatUint(uint64(a.UID), 10)
	m[keyGID] = strconv.FormatUint(uint64(a.GID), 10)
	delete(m, keyMtime)
	if !a.Mtime.IsZero() {
		m[keyMtime] = formatTime(a.Mtime)
	}
	delete(m, keyTarget)
	if a.Type() == unix.S_IFLNK && a.Target >= 0 {
		m[keyTarget] = strconv.Itoa(a.Target)
	}
	return m
}

// Symlink is the content of a symlink's object: the target, filled up to SymlinkSize with line ends, which s3fs takes for none.
func Symlink(target string) []byte {
	content := []byte(target)
	for len(content) < SymlinkSize {
		content = append(content, '\n')
	}
	return content
}

// TargetOf reads the target from the content of a symlink's object.
func (a Attributes) TargetOf(content []byte) string {
	if a.Target >= 0 && a.Target <= len(content) {
		return string(content[:a.Target])
	}
	return strings.TrimRight(string(content), " \n\r\t\x00")
}

// parseTime reads seconds with at most nine digits of a fraction; more are cut off.
func parseTime(s string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	// Years from 0 to 9999 and what the kernel takes; a nonsense number is no time.
	if err != nil || seconds < -62_135_596_800 || seconds > 253_402_300_799 {
		return time.Time{}, false
	}
	if fraction == "" {
		return time.Unix(seconds, 0), true
	}
	nanos, err := strconv.ParseUint((fraction + "000000000")[:9], 10, 32)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(seconds, int64(nanos)), true
}

// formatTime is the inverse: the fraction counts up from the second below, before 1970 too.
func formatTime(t time.Time) string {
	s := strconv.FormatInt(t.Unix(), 10)
	if n := t.Nanosecond(); n != 0 {
		s += "." + (strconv.Itoa(1_000_000_000 + n))[1:]
	}
	return s
}
