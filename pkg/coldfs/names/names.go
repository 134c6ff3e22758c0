// Package names turns the segments of keys, which are what stands between two slashes, into file names and back.
//
// Almost every segment is its own name. Those that can't be one (an empty one, "." and "..", one with a NUL byte) are shown escaped, so that everything in a
// bucket can be seen, read and removed; what even that can't show is left out. The rule is injective both ways: no two segments have one name, and a name means one segment, so that nothing
// has to be remembered and every node shows the same.
package names

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxName is the longest file name in bytes (Linux, NAME_MAX).
const MaxName = 255

// escaped begins the names of segments that can't be shown as they are. Two percent signs are rare in keys; a segment that begins with them is escaped itself.
const escaped = "%%"

// beside ends the name of an object that has a directory of the same name beside it. No escape ends so: a percent sign in them has two digits behind it.
const beside = "%"

var (
	// ErrTooLong: no name of more than MaxName bytes.
	ErrTooLong = errors.New("the name is too long")
	// ErrInvalid: no segment has this name, and none may be made with it.
	ErrInvalid = errors.New("no such name is possible")
)

// Name is what a file name stands for.
type Name struct {
	Segment string
	// Beside: the name means the object of that segment which has a directory of the same segment beside it.
	Beside bool
}

// Of is the file name of a segment; false: it has none, as it would be too long.
func Of(segment string) (string, bool) {
	name := segment
	if needsEscape(segment) {
		name = escaped + escape(segment)
	}
	return name, len(name) <= MaxName
}

// OfBeside is the file name of an object that has a directory of the same segment beside it; false: it has none, as it would be too long.
func OfBeside(segment string) (string, bool) {
	name := escaped + escape(segment) + beside
	return name, len(name) <= MaxName
}

// Parse says what a file name stands for. The error wraps ErrTooLong or ErrInvalid: keys are text in UTF-8, and an escape that Of doesn't make means nothing.
func Parse(name string) (Name, error) {
	if len(name) > MaxName {
		return Name{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLong, len(name), MaxName)
	}
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || !utf8.ValidString(name) {
		return Name{}, fmt.Errorf("%w: %q", ErrInvalid, name)
	}
	rest, ok := strings.CutPrefix(name, escaped)
	if !ok {
		return Name{Segment: name}, nil
	}
	n := Name{}
	rest, n.Beside = strings.CutSuffix(rest, beside)
	var err error
	if n.Segment, err = unescape(rest); err != nil {
		return Name{}, fmt.Errorf("%w: %q: %w", ErrInvalid, name, err)
	}
	canonical, _ := Of(n.Segment)
	if n.Beside {
		canonical, _ = OfBeside(n.Segment)
	}
	if canonical != name {
		return Name{}, fmt.Errorf("%w: %q is not how %q is shown", ErrInvalid, name, n.Segment)
	}
	return n, nil
}

func needsEscape(segment string) bool {
	return segment == "" || segment == "." || segment == ".." || strings.HasPrefix(segment, escaped) || strings.Contains(segment, "\x00")
}

// escape writes what a name can't have, and the percent sign, as a percent sign with two digits.
func escape(segment string) string {
	if segment == "." || segment == ".." {
		return strings.ReplaceAll(segment, ".", "%2E")
	}
	return strings.NewReplacer("%", "%25", "\x00", "%00").Replace(segment)
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for {
		text, code, found := strings.Cut(s, "%")
		b.WriteString(text)
		if !found {
			return b.String(), nil
		}
		if len(code) < 2 {
			return "", errors.New("a percent sign without two digits behind it")
		}
		switch code[:2] {
		case "25":
			b.WriteByte('%')
		case "00":
			b.WriteByte(0)
		case "2E":
			b.WriteByte('.')
		default:
			return "", fmt.Errorf("%%%s is no escape", code[:2])
		}
		s = code[2:]
	}
}
