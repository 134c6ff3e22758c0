package ceph

import (
	"fmt"
	"regexp"
	"strings"
)

// ControllerCapabilities are what the user of strata-controller needs in a cluster, and no more, in the order in which `ceph auth` takes
// them: for the groups and identities of one namePrefix, the file system, and the pool of the locks. docs/security.md says what each is
// for; the tests of tests/ run with exactly these.
func ControllerCapabilities(prefix, fs, lockPool string) []string {
	group := regexp.QuoteMeta(prefix) // plain letters, digits and '-'
	identity := fmt.Sprintf(`entity prefix "client.strata.%s."`, prefix)
	mon := []string{
		"allow r",
		fmt.Sprintf(`allow command "auth get-or-create" with %s caps_mon="allow r fsname=%s" caps_mgr="%s" caps_mds regex "allow rw? fsname=%s path=/volumes/%s[.][A-Za-z0-9._/-]+" `+
			`caps_osd regex "allow rw? pool=[A-Za-z0-9._-]+ namespace=fsvolumens__%s[.][A-Za-z0-9._-]+"`, identity, fs, noManager, regexp.QuoteMeta(fs), group, group),
		fmt.Sprintf(`allow command "auth rm" with %s`, identity),
	}
	var mgr []string
	for _, c := range []string{"subvolumegroup create", "subvolume create", "subvolume info", "subvolume rm", "subvolume snapshot create", "subvolume snapshot rm", "clone status", "clone cancel"} {
		mgr = append(mgr, fmt.Sprintf(`allow command "fs %s" with vol_name=%s group_name prefix "%s."`, c, fs, prefix))
	}
	mgr = append(mgr,
		fmt.Sprintf(`allow command "fs subvolume snapshot clone" with vol_name=%s group_name prefix "%s." target_group_name prefix "%s."`, fs, prefix, prefix),
		fmt.Sprintf(`allow command "fs subvolumegroup ls" with vol_name=%s`, fs))
	return []string{
		"mon", strings.Join(mon, ", "),
		"mgr", strings.Join(mgr, ", "),
		"mds", "allow rwp fsname=" + fs,
		"osd", fmt.Sprintf("allow rwx pool=%s namespace=strata-locks", lockPool),
	}
}
