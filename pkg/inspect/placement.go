package inspect

import (
	"fmt"
	"slices"
	"strings"
)

// Place returns the file system and the pool that a class with these two parameters gets, the configuration's defaults and the only
// file system included. problem: why there is none.
func (c Cluster) Place(fs, pool string) (gotFS, gotPool, problem, fix string) {
	if fs == "" {
		fs = c.Defaults["fsName"]
	}
	if pool == "" {
		pool = c.Defaults["pool"]
	}
	if fs == "" {
		if len(c.FileSystems) != 1 {
			return "", "", fmt.Sprintf("no fsName is given, and the cluster has the file systems %s", orNone(c.fileSystemNames())),
				"name one by parameter fsName, or in `defaults` of the cluster configuration"
		}
		fs = c.FileSystems[0].Name
	}
	f, ok := c.fileSystem(fs)
	if !ok {
		return "", "", fmt.Sprintf("there is no file system %q (there are: %s)", fs, orNone(c.fileSystemNames())),
			fmt.Sprintf("ceph fs new %s METADATA_POOL REPLICATED_DATA_POOL, or correct fsName", fs)
	}
	if pool == "" && len(f.DataPools) > 0 {
		pool = f.DataPools[0]
	}
	return fs, pool, "", ""
}

// CheckPlacement says whether volumes can be made in the pool of the file system; "" as in Place. It is about the same that
// CreateVolume looks at, and about what it doesn't: pools that fill up, a single copy.
func (c Cluster) CheckPlacement(name, subject, fs, pool string) Check {
	check := Check{Name: name, Subject: subject, Result: Fail}
	fs, pool, check.Found, check.Fix = c.Place(fs, pool)
	if check.Found != "" {
		return check
	}
	f, _ := c.fileSystem(fs)
	p, ok := c.pool(pool)
	first, _ := c.pool(f.DataPools[0])
	fail := func(fix, format string, args ...any) Check {
		check.Found, check.Fix = fmt.Sprintf(format, args...), fix
		return check
	}
	switch {
	case first.Erasure:
		return fail(fmt.Sprintf("make a file system with `ceph fs new NAME METADATA_POOL REPLICATED_POOL`, then `ceph fs add_data_pool NAME %s`", first.Name),
			"the first data pool of file system %s, %s, is erasure-coded; it holds a backtrace of every file and has to be replicated", fs, first.Name)
	case !ok:
		return fail(fmt.Sprintf("ceph osd pool create %s, then `ceph fs add_data_pool %s %s`; or correct the parameter", pool, fs, pool),
			"there is no pool %q (data pools of %s: %s)", pool, fs, strings.Join(f.DataPools, ", "))
	case p.Erasure && !p.Overwrites:
		return fail(fmt.Sprintf("ceph osd pool set %s allow_ec_overwrites true", pool), "pool %s is erasure-coded and refuses overwrites", pool)
	case !slices.Contains(f.DataPools, pool):
		return fail(fmt.Sprintf("ceph fs add_data_pool %s %s", fs, pool), "pool %s isn't a data pool of file system %s (those are %s)", pool, fs,
			strings.Join(f.DataPools, ", "))
	case p.Full || first.Full:
		return fail("ceph df; add OSDs or delete data", "pool %s is full: writes fail or wait", fullOf(p, first))
	}
	check.Result = Warn
	switch {
	case p.NearFull || first.NearFull:
		return fail("ceph df; add OSDs or delete data", "pool %s is nearly full", nearFullOf(p, first))
	case !p.Erasure && p.Size == 1 || first.Size == 1:
		return fail(fmt.Sprintf("ceph osd pool set %s size 3", singleOf(p, first)), "pool %s keeps a single copy: one lost disk loses data", singleOf(p, first))
	}
	check.Result = OK
	kind := fmt.Sprintf("%d copies", p.Size)
	if p.Erasure {
		kind = fmt.Sprintf("erasure-coded over %d with overwrites", p.Size)
	}
	return fail("", "file system %s, pool %s (%s), %s free", fs, pool, kind, Bytes(p.Available))
}

func fullOf(p, first Pool) string     { return pick(p.Full, p, first) }
func nearFullOf(p, first Pool) string { return pick(p.NearFull, p, first) }
func singleOf(p, first Pool) string   { return pick(!p.Erasure && p.Size == 1, p, first) }

func pick(it bool, p, first Pool) string {
	if it {
		return p.Name
	}
	return first.Name
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Bytes writes a size for people, in units of 1024 with at most three digits and one decimal.
func Bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, i := float64(n), 0
	for v >= 1023.95 && i < len(units)-1 {
		v /= 1024
		i++
	}
	text := fmt.Sprintf("%.1f", v)
	return strings.TrimSuffix(text, ".0") + units[i]
}
