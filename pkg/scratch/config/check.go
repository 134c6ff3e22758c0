package config

// What a configuration must be like: every rule with the words that say what is allowed.

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/volume"
)

var (
	nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	// groupForm is lvm(8), "Valid names", without "." and "..".
	groupForm = regexp.MustCompile(`^[A-Za-z0-9+_.][A-Za-z0-9+_.-]*$`)

	kinds   = []string{string(disk.Btrfs), string(disk.LVM), string(disk.Loop), string(disk.XFS)}
	fsTypes = []string{"ext4", "xfs"}
	wipes   = []string{string(disk.WipeNone), string(disk.WipeDiscard), string(disk.WipeZero)}
)

const (
	maxName  = 32  // bytes of a pool's or a class's; the class stands in every volume id
	maxGroup = 127 // bytes of an LVM name
	minGrace = time.Second
)

// Validate checks a configuration as Load checks a file.
func (c Config) Validate() error {
	var m mistakes
	m.check(c)
	return m.Err("scratch configuration")
}

func (m *mistakes) check(c Config) {
	if len(c.Pools) == 0 {
		m.Add("pools", "at least one is needed, with its disks")
	}
	if len(c.Classes) == 0 {
		m.Add("classes", "at least one is needed: it is what a pod or a StorageClass names")
	}
	var pools, classes []string
	places := map[string]string{} // each disk with the field that it stands in first
	for i, p := range c.Pools {
		field := fmt.Sprintf("pools[%d]", i)
		m.checkName(field+".name", p.Name, pools, "pools")
		m.checkPool(field, p, places)
		pools = append(pools, p.Name)
	}
	for i, class := range c.Classes {
		field := fmt.Sprintf("classes[%d]", i)
		m.checkName(field+".name", class.Name, classes, "classes")
		m.checkClass(field, class, pools)
		classes = append(classes, class.Name)
	}
	m.checkSize("maxPerPod", c.MaxPerPod)
	m.checkSize("maxPerNode", c.MaxPerNode)
	if c.Grace < minGrace {
		m.Add("grace", "%s is too short: the least is %s, the default %s", c.Grace, minGrace, DefaultGrace)
	}
}

func (m *mistakes) checkName(field, name string, seen []string, list string) {
	switch {
	case name == "":
		m.Add(field, "is missing")
	case len(name) > maxName:
		m.Add(field, "%q has %d bytes and at most %d are allowed", name, len(name), maxName)
	case !nameForm.MatchString(name):
		m.Add(field, "%q must be lower-case letters, digits and '-' and begin and end with a letter or digit", name)
	case slices.Contains(seen, name):
		m.Add(field, "%q is the name of %s[%d] already", name, list, slices.Index(seen, name))
	}
}

func (m *mistakes) checkPool(field string, p Pool, places map[string]string) {
	if len(p.Disks) == 0 {
		m.Add(field+".disks", "at least one is needed, with a path or a volumeGroup")
	}
	for i, d := range p.Disks {
		m.checkPlace(fmt.Sprintf("%s.disks[%d]", field, i), d, p.Kinds, places)
	}
	for i, k := range p.Kinds {
		field := fmt.Sprintf("%s.kinds[%d]", field, i)
		m.checkOneOf(field, string(k), kinds)
		if slices.Contains(p.Kinds[:i], k) {
			m.Add(field, "%q stands there twice", k)
		}
	}
	if p.ReservePercent < 0 || p.ReservePercent > maxReserve {
		m.Add(field+".reserve", "%d%% must be from 0%% to %d%%", p.ReservePercent, maxReserve)
	}
}

func (m *mistakes) checkPlace(field string, d Place, allowed []disk.Kind, places map[string]string) {
	switch {
	case d.Path == "" && d.VolumeGroup == "" || d.Path != "" && d.VolumeGroup != "":
		m.Add(field, "exactly one of path and volumeGroup is needed")
		return
	case d.VolumeGroup != "":
		if !groupForm.MatchString(d.VolumeGroup) || len(d.VolumeGroup) > maxGroup || d.VolumeGroup == "." || d.VolumeGroup == ".." {
			m.Add(field+".volumeGroup", "%q can't name a volume group: `vgs` lists those there are", d.VolumeGroup)
		}
		if len(allowed) > 0 && !slices.Contains(allowed, disk.LVM) {
			m.Add(field+".volumeGroup", "a volume group can't be used in any of the pool's kinds; it needs %s", disk.LVM)
		}
	default:
		if !filepath.IsAbs(d.Path) || filepath.Clean(d.Path) != d.Path {
			m.Add(field+".path", "%q must be an absolute path without \".\", \"..\", and '/' at its end", d.Path)
		} else if d.Path == "/" {
			m.Add(field+".path", "the root directory can't be a disk: scratch volumes would fill the node's own")
		}
		if len(allowed) > 0 && !slices.ContainsFunc(allowed, func(k disk.Kind) bool { return k != disk.LVM }) {
			m.Add(field+".path", "a directory can't be used in any of the pool's kinds; it needs one of %s, %s and %s", disk.Btrfs, disk.Loop, disk.XFS)
		}
	}
	m.checkAlone(field, d, places)
}

// checkAlone refuses a disk that stands there twice, or within another: each would count the other's space as free.
func (m *mistakes) checkAlone(field string, d Place, places map[string]string) {
	if d.VolumeGroup != "" {
		key := "vg/" + d.VolumeGroup
		if first, ok := places[key]; ok {
			m.Add(field, "volume group %s is %s already", d.VolumeGroup, first)
		} else {
			places[key] = field
		}
		return
	}
	for _, other := range slices.Sorted(maps.Keys(places)) {
		if other == d.Path || strings.HasPrefix(d.Path, other+"/") || strings.HasPrefix(other, d.Path+"/") {
			m.Add(field, "%s is, lies in, or holds %s, which is %s", d.Path, other, places[other])
			return
		}
	}
	places[d.Path] = field
}

func (m *mistakes) checkClass(field string, c Class, pools []string) {
	switch {
	case c.Pool == "":
		m.Add(field+".pool", "is missing (there are: %s)", strings.Join(pools, ", "))
	case !slices.Contains(pools, c.Pool):
		m.Add(field+".pool", "there is no pool %q%s (there are: %s)", c.Pool, suggest.Hint(c.Pool, pools), strings.Join(pools, ", "))
	}
	m.checkSize(field+".defaultSize", c.DefaultSize)
	m.checkSize(field+".maxSize", c.MaxSize)
	if c.MaxSize > 0 && c.DefaultSize > c.MaxSize {
		m.Add(field+".defaultSize", "%s is above maxSize, %s", FormatSize(c.DefaultSize), FormatSize(c.MaxSize))
	}
	if c.FSType != "" {
		m.checkOneOf(field+".fsType", c.FSType, fsTypes)
	}
	for i, o := range c.MkfsOptions {
		if why := checkMkfsOption(o); why != "" {
			m.Add(fmt.Sprintf("%s.mkfsOptions[%d]", field, i), "%q %s", o, why)
		}
	}
	for i, o := range c.MountOptions {
		if err := checkMountOption(o); err != nil {
			m.Add(fmt.Sprintf("%s.mountOptions[%d]", field, i), "%v", err)
		}
	}
	m.checkOneOf(field+".wipe", string(c.Wipe), wipes)
}

// checkMkfsOption refuses what mkfs would not take for an option: it stands before the device, which must stay the only one.
func checkMkfsOption(o string) string {
	switch {
	case o == "":
		return "is empty"
	case strings.ContainsFunc(o, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "has a control character"
	case strings.HasPrefix(o, "/"):
		return "is a path: mkfs would take it for the device"
	case o == "--":
		return "ends the options; the driver adds the device"
	case strings.HasPrefix(o, "-") && strings.Contains(o, " "):
		return "is several arguments: write each as an entry of its own"
	}
	return ""
}

func (m *mistakes) checkSize(field string, n int64) {
	if n != 0 && (n < disk.MinSize || n > maxSize || n%grain != 0) {
		m.Add(field, "%d must be a multiple of 1 MiB from %d", n, int64(disk.MinSize))
	}
}

func (m *mistakes) checkOneOf(field, s string, valid []string) {
	if !slices.Contains(valid, s) {
		m.Add(field, "%q is not one of %s%s", s, strings.Join(valid, ", "), suggest.Hint(s, valid))
	}
}

// CheckName refuses what can't be the name of a pool or a class, for those who know only the name. The error wraps volume.ErrInvalid.
func CheckName(name string) error {
	if len(name) > maxName || !nameForm.MatchString(name) {
		return fmt.Errorf("%w: %q is not 1 to %d lower-case letters, digits and inner '-'", volume.ErrInvalid, name, maxName)
	}
	return nil
}
