package volume

import (
	"fmt"
	"strings"
)

// MaxIDLength is the most bytes a volume or snapshot id may have (CSI spec, "Size Limits").
const MaxIDLength = 128

// ID names a volume, SnapshotID a snapshot: the tier and the backend's own names joined
// with ':'. An id names things by name, never by a number that a re-created file system
// would change, so that it can be read, and served, without any state of ours.
//
// Each part is 1 or more of [A-Za-z0-9._-], is neither "." nor "..", and doesn't begin with '-':
// a part can stand in a path or on a command line and mean only itself.
type ID string

// SnapshotID names a snapshot; its grammar is that of ID.
type SnapshotID string

const separator = ":"

// NewID joins the parts of a volume id. The error wraps ErrInvalid and names the part that is wrong,
// or every part with its length when they don't fit together.
func NewID(t Tier, parts ...string) (ID, error) {
	s, err := join(t, parts)
	return ID(s), err
}

// NewSnapshotID is NewID for a snapshot.
func NewSnapshotID(t Tier, parts ...string) (SnapshotID, error) {
	s, err := join(t, parts)
	return SnapshotID(s), err
}

// ParseID checks s against the grammar. The error wraps ErrInvalid.
func ParseID(s string) (ID, error) { return ID(s), check(s) }

// ParseSnapshotID checks s against the grammar. The error wraps ErrInvalid.
func ParseSnapshotID(s string) (SnapshotID, error) { return SnapshotID(s), check(s) }

// Tier is the tier of a parsed id.
func (id ID) Tier() Tier { return tierOf(string(id)) }

// Parts are the backend's names in a parsed id, without the tier.
func (id ID) Parts() []string { return partsOf(string(id)) }

// Tier is the tier of a parsed id.
func (id SnapshotID) Tier() Tier { return tierOf(string(id)) }

// Parts are the backend's names in a parsed id, without the tier.
func (id SnapshotID) Parts() []string { return partsOf(string(id)) }

func tierOf(s string) Tier {
	t, _, _ := strings.Cut(s, separator)
	return Tier(t)
}

func partsOf(s string) []string {
	_, rest, ok := strings.Cut(s, separator)
	if !ok {
		return nil
	}
	return strings.Split(rest, separator)
}

func join(t Tier, parts []string) (string, error) {
	for _, p := range parts { // one by one: a separator in a part would make it two
		if err := CheckPart(p); err != nil {
			return "", err
		}
	}
	s := string(t) + separator + strings.Join(parts, separator)
	if len(s) > MaxIDLength {
		sizes := make([]string, len(parts))
		for i, p := range parts {
			sizes[i] = fmt.Sprintf("%s (%d)", p, len(p))
		}
		return "", fmt.Errorf("%w: the id would have %d bytes and at most %d are allowed; shorten one of: %s",
			ErrInvalid, len(s), MaxIDLength, strings.Join(sizes, ", "))
	}
	return s, check(s)
}

func check(s string) error {
	if len(s) > MaxIDLength {
		return fmt.Errorf("%w: an id has at most %d bytes, this one has %d", ErrInvalid, MaxIDLength, len(s))
	}
	if _, err := ParseTier(string(tierOf(s))); err != nil {
		return fmt.Errorf("id %q: %w", s, err)
	}
	parts := partsOf(s)
	if len(parts) == 0 {
		return fmt.Errorf("%w: id %q has a tier and nothing else", ErrInvalid, s)
	}
	for _, p := range parts {
		if err := CheckPart(p); err != nil {
			return fmt.Errorf("id %q: %w", s, err)
		}
	}
	return nil
}

// CheckPart says whether p can be a part of an id. The error wraps ErrInvalid.
func CheckPart(p string) error {
	if p == "" || p == "." || p == ".." || p[0] == '-' {
		return fmt.Errorf("%w: %q can't be a name (empty, \".\", \"..\" or beginning with '-')", ErrInvalid, p)
	}
	for i := range len(p) {
		c := p[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return fmt.Errorf("%w: %q has a character outside [A-Za-z0-9._-]", ErrInvalid, p)
		}
	}
	return nil
}
