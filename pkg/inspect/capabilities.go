package inspect

// What a Ceph user may do, read from its capabilities: docs/security.md says what is needed.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/strata-csi/strata/pkg/ceph"
)

// needs are the letters of each daemon's capability without which something doesn't work.
type needs map[string]string

var (
	// Locks are calls of an object class, which is what x allows.
	controllerNeeds = needs{"mon": "r", "mgr": "rw", "mds": "rwp", "osd": "rwx"}
	nodeNeeds       = needs{"mon": "r", "mds": "rw", "osd": "rw"}
	daemons         = []string{"mon", "mgr", "mds", "osd"}
)

// standard are the capabilities that a fix names, by what they are needed for, as words of a shell.
func (n needs) standard(prefix, fs, lockPool string) string {
	if _, controller := n["mgr"]; controller {
		words := ceph.ControllerCapabilities(prefix, fs, lockPool)
		for i := range words {
			if i%2 == 1 {
				words[i] = "'" + words[i] + "'"
			}
		}
		return strings.Join(words, " ")
	}
	return fmt.Sprintf("mon 'allow r' mds 'allow rw fsname=%s path=/volumes' osd 'allow rw tag cephfs data=%s'", fs, fs)
}

// user is what the monitors know of one. The key that comes with it isn't read.
type user struct {
	Entity string            `json:"entity"`
	Caps   map[string]string `json:"caps"`
}

// capabilities checks a user. told is what is known otherwise, should the monitors keep capabilities from this key.
func capabilities(ctx context.Context, l looker, check Check, name string, n needs, standard, told string) Check {
	var users []user
	err := l.mon(ctx, monAuth, map[string]any{"entity": "client." + name}, &users)
	switch {
	case denied(err):
		check.Result, check.Found = OK, fmt.Sprintf("client.%s: only an administrator's key may read capabilities; %s", name, told)
		return check
	case errors.Is(err, syscall.ENOENT) || err == nil && len(users) == 0:
		check.Result, check.Found = Fail, fmt.Sprintf("there is no Ceph user client.%s", name)
		check.Fix = fmt.Sprintf("ceph auth get-or-create client.%s %s", name, standard)
		return check
	case err != nil:
		check.Result, check.Found = Unknown, because(err)
		return check
	}
	var lacks, has []string
	for _, daemon := range daemons {
		if caps := users[0].Caps[daemon]; caps != "" {
			has = append(has, fmt.Sprintf("%s '%s'", daemon, caps))
		}
		if missing := lacking(n[daemon], users[0].Caps[daemon]); missing != "" {
			lacks = append(lacks, fmt.Sprintf("%s lacks %s", daemon, missing))
		}
	}
	check.Result, check.Found = OK, fmt.Sprintf("client.%s: %s", name, strings.Join(has, ", "))
	if len(lacks) > 0 {
		check.Result = Fail
		check.Found = fmt.Sprintf("client.%s: %s (it has %s)", name, strings.Join(lacks, ", "), orNone(has))
		check.Fix = fmt.Sprintf("ceph auth caps client.%s %s", name, standard)
	}
	return check
}

// lacking returns the letters of want that no grant of a capability has; '*', 'all' and profiles have all of them, since only Ceph knows
// what a profile holds. A grant is `allow SPEC [restriction]`, SPEC letters, or, for a single command or class, none.
func lacking(want, capability string) string {
	have := ""
	for _, grant := range strings.FieldsFunc(capability, func(r rune) bool { return r == ',' || r == ';' }) {
		words := strings.Fields(grant)
		if slices.Contains(words, "profile") {
			return ""
		}
		if len(words) < 2 || words[0] != "allow" {
			continue
		}
		switch spec := words[1]; {
		case spec == "*" || spec == "all":
			return ""
		case strings.Trim(spec, "rwxps") == "":
			have += spec
		case strings.HasPrefix(spec, "class"), strings.HasPrefix(spec, "command"):
			have += "rwx"
		}
	}
	var missing strings.Builder
	for _, letter := range want {
		if !strings.ContainsRune(have, letter) {
			missing.WriteRune(letter)
		}
	}
	return missing.String()
}
