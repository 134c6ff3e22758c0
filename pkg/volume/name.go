package volume

import (
	"crypto/sha256"
	"encoding/base32"
	"regexp"
	"strings"
)

// NameLength is the most bytes Name returns, without its prefix.
const NameLength = 40

// hashed is the form of a name that could not stand as it was: 26 base32 characters are the
// first 130 bits of its SHA-256.
var (
	hashed = regexp.MustCompile(`^h-[a-z2-7]{26}$`)
	plain  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	lower  = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
)

// Name derives the backend's name of a volume or snapshot from the CSI request name, up to max bytes
// (at least 28) and without state, so that a repeated request finds what the first one made. A short plain name
// stands as it is and can be read by an operator; any other becomes "h-" and a hash. The two forms
// can't meet: a plain name that looks hashed is hashed too. With a prefix, a '.' stands between it and
// the name; names have no '.', so that (prefix, name) can be told from the result.
func Name(prefix, request string, max int) string {
	name := request
	if len(request) > max || !plain.MatchString(request) || hashed.MatchString(request) {
		sum := sha256.Sum256([]byte(request))
		name = "h-" + strings.ToLower(lower.EncodeToString(sum[:])[:26])
	}
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}
