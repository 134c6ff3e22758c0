// Package suggest finds the word that somebody probably meant, for the error messages that refuse
// an unknown key of a configuration file or an unknown parameter of a StorageClass.
package suggest

import (
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the word of valid that is most like word, or "" when none is like it: a far-fetched
// suggestion misleads more than none. Upper and lower case count as the same. Of two equally near ones
// the first in valid is returned.
func Nearest(word string, valid []string) string {
	best, bestDistance := "", 0
	for _, v := range valid {
		d, near := distance(word, v)
		if near && (best == "" || d < bestDistance) {
			best, bestDistance = v, d
		}
	}
	return best
}

// Hint is the end of an error message about an unknown word: `, did you mean "fsName"?`, or "" when
// no word of valid is near.
func Hint(word string, valid []string) string {
	n := Nearest(word, valid)
	if n == "" {
		return ""
	}
	return `, did you mean "` + n + `"?`
}

// distance is the edit distance of two words, and whether they are near: at least half of the longer
// one stays as it is, or the one begins with the other ("fs" for "fsName"), which counts half.
func distance(a, b string) (int, bool) {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if a == "" || b == "" {
		return 0, false
	}
	d := levenshtein.ComputeDistance(a, b)
	longer := max(utf8.RuneCountInString(a), utf8.RuneCountInString(b))
	if min(len(a), len(b)) > 1 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
		return (d + 1) / 2, true
	}
	return d, 2*d <= longer
}
