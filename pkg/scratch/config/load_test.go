package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

const gib = int64(1) << 30

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scratch.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestTheExample(t *testing.T) {
	got, err := Load("../../../deploy/scratch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Pools: []Pool{{
			Name: "nvme", Disks: []Place{{Path: "/var/lib/strata/nvme0"}, {Path: "/var/lib/strata/nvme1"}},
			Kinds: []disk.Kind{disk.Btrfs, disk.LVM, disk.Loop}, ReservePercent: 5,
		}, {Name: "striped", Disks: []Place{{VolumeGroup: "fast"}}, ReservePercent: 5}},
		Classes: []Class{
			{Name: "default", Pool: "nvme", DefaultSize: 10 * gib, MaxSize: 500 * gib, Wipe: disk.WipeNone},
			{Name: "fast", Pool: "striped", MaxSize: 2048 * gib, FSType: "xfs", MkfsOptions: []string{"-m", "reflink=0"},
				MountOptions: []string{"noatime", "lazytime"}, Wipe: disk.WipeDiscard},
		},
		MaxPerPod: 1024 * gib, MaxPerNode: 3072 * gib, Grace: 10 * time.Minute,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}

const least = `
pools:
- name: p
  disks: [{path: /d}]
classes:
- {name: c, pool: p}
`

func TestDefaults(t *testing.T) {
	got, err := load(t, least)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Pools:   []Pool{{Name: "p", Disks: []Place{{Path: "/d"}}, ReservePercent: 5}},
		Classes: []Class{{Name: "c", Pool: "p", Wipe: disk.WipeNone}}, Grace: 10 * time.Minute,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	replaced := func(old, new string) string {
		if !strings.Contains(least, old) {
			panic(old + " is not in the least file")
		}
		return strings.Replace(least, old, new, 1)
	}
	class := func(more string) string { return replaced("pool: p}", "pool: p, "+more+"}") }
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"empty file", "", []string{"pools: at least one is needed", "classes: at least one is needed", "2 mistakes"}},
		{"not YAML", "pools: [", []string{"not valid YAML"}},
		{"unknown key at the top", least + "maxPerPods: 1Gi\n", []string{`the file: unknown key "maxPerPods", did you mean "maxPerPod"?`}},
		{"unknown key of a pool", replaced("  disks", "  disk: a\n  disks"), []string{`pools[0]: unknown key "disk", did you mean "disks"?`}},
		{"unknown key of a disk", replaced("path: /d", "paht: /d"), []string{`pools[0].disks[0]: unknown key "paht", did you mean "path"?`}},
		{"unknown key of a class", class("size: 1Gi"), []string{`classes[0]: unknown key "size", did you mean`}},
		{"key in the wrong case", class("maxsize: 1Gi"), []string{`unknown key "maxsize", did you mean "maxSize"?`}},
		{"no name", replaced("name: p", "name:"), []string{"pools[0].name: is missing"}},
		{"name with capitals", replaced("name: c", "name: C"), []string{`classes[0].name: "C" must be lower-case`}},
		{"name with a dash before it", replaced("name: c", "name: -c"), []string{`classes[0].name: "-c" must be`}},
		{"long name", replaced("name: c", "name: "+strings.Repeat("c", 33)), []string{"33 bytes", "at most 32"}},
		{"pool twice", replaced("classes:", "- {name: p, disks: [{path: /e}]}\nclasses:"), []string{`pools[1].name: "p" is the name of pools[0] already`}},
		{"class twice", least + "- {name: c, pool: p}\n", []string{`classes[1].name: "c" is the name of classes[0] already`}},
		{"no disk", replaced("[{path: /d}]", "[]"), []string{"pools[0].disks: at least one is needed"}},
		{"neither path nor group", replaced("{path: /d}", "{}"), []string{"pools[0].disks[0]: exactly one of path and volumeGroup"}},
		{"both", replaced("path: /d", "path: /d, volumeGroup: g"), []string{"exactly one of path and volumeGroup"}},
		{"relative path", replaced("/d", "d"), []string{`pools[0].disks[0].path: "d" must be an absolute path`}},
		{"path with ..", replaced("/d", "/d/../e"), []string{`"/d/../e" must be an absolute path`}},
		{"root", replaced("/d", "/"), []string{"the root directory can't be a disk"}},
		{"group that is none", replaced("path: /d", "volumeGroup: a/b"), []string{`"a/b" can't name a volume group`, "vgs"}},
		{"disk twice", replaced("[{path: /d}]", "[{path: /d}, {path: /d}]"), []string{"pools[0].disks[1]: /d is, lies in, or holds /d, which is pools[0].disks[0]"}},
		{"disk in a disk", replaced("[{path: /d}]", "[{path: /d/e}, {path: /d}]"), []string{"/d is, lies in, or holds /d/e"}},
		{"group twice", replaced("[{path: /d}]", "[{volumeGroup: g}, {volumeGroup: g}]"), []string{"volume group g is pools[0].disks[0] already"}},
		{"unknown kind", replaced("  disks", "  kinds: [lop]\n  disks"), []string{`pools[0].kinds[0]: "lop" is not one of btrfs, lvm, loop, xfs, did you mean "loop"?`}},
		{"kind twice", replaced("  disks", "  kinds: [loop, loop]\n  disks"), []string{`pools[0].kinds[1]: "loop" stands there twice`}},
		{"directory for LVM alone", replaced("  disks", "  kinds: [lvm]\n  disks"), []string{"pools[0].disks[0].path: a directory can't be used", "btrfs, loop and xfs"}},
		{"group without LVM", replaced("  disks: [{path: /d}]", "  kinds: [loop]\n  disks: [{volumeGroup: g}]"), []string{"pools[0].disks[0].volumeGroup: a volume group can't be used", "lvm"}},
		{"reserve without %", replaced("  disks", "  reserve: '5'\n  disks"), []string{`pools[0].reserve: "5" is not a percentage`, "0% to 90%", `"5%"`}},
		{"reserve as a number", replaced("  disks", "  reserve: 5\n  disks"), []string{"pools[0].reserve: must be text, not a number", `"5%"`}},
		{"reserve of all", replaced("  disks", "  reserve: 95%\n  disks"), []string{`pools[0].reserve: "95%" is too much`}},
		{"class without a pool", replaced(", pool: p", ""), []string{"classes[0].pool: is missing (there are: p)"}},
		{"class of no pool", replaced("pool: p}", "pool: pp}"), []string{`classes[0].pool: there is no pool "pp", did you mean "p"? (there are: p)`}},
		{"size that is none", class("maxSize: 1Gib"), []string{`classes[0].maxSize: "1Gib" is not a size`, "100Gi"}},
		{"size as a list", class("maxSize: [1Gi]"), []string{"classes[0].maxSize: must be a size such as 100Gi, not a list"}},
		{"size as a huge float", class("maxSize: 1e30"), []string{"classes[0].maxSize", "is not a size"}},
		{"negative size", class("maxSize: -1Gi"), []string{`"-1Gi" is not a size`}},
		{"size of nothing", class("defaultSize: 0"), []string{`classes[0].defaultSize: "0" is too small: the least is 16Mi`}},
		{"default above the maximum", class("defaultSize: 2Gi, maxSize: 1Gi"), []string{"classes[0].defaultSize: 2Gi is above maxSize, 1Gi"}},
		{"file system", class("fsType: etx4"), []string{`classes[0].fsType: "etx4" is not one of ext4, xfs, did you mean "ext4"?`}},
		{"device for mkfs", class("mkfsOptions: ['-F', /dev/sda]"), []string{`classes[0].mkfsOptions[1]: "/dev/sda" is a path`}},
		{"end of options for mkfs", class("mkfsOptions: ['--']"), []string{`"--" ends the options`}},
		{"two options in one", class("mkfsOptions: ['-m 0']"), []string{`"-m 0" is several arguments`}},
		{"empty option", class("mkfsOptions: ['']"), []string{`"" is empty`}},
		{"option with a newline", class(`mkfsOptions: ["a\nb"]`), []string{"has a control character"}},
		{"mount option", class("mountOptions: [noatime, suid]"), []string{`classes[0].mountOptions[1]: mount option "suid" is not allowed`}},
		{"wipe", class("wipe: zeros"), []string{`classes[0].wipe: "zeros" is not one of none, discard, zero, did you mean "zero"?`}},
		{"limit per pod", least + "maxPerPod: 1Mi\n", []string{`maxPerPod: "1Mi" is too small`}},
		{"grace that is none", least + "grace: 10\n", []string{"grace: must be a duration such as 10m, not a number"}},
		{"grace without a unit", least + "grace: '10'\n", []string{`grace: "10" is not a duration`}},
		{"no grace", least + "grace: 0s\n", []string{"grace: 0s is too short: the least is 1s, the default 10m0s"}},
		{"several", class("fsType: ntfs, wipe: all") + "grace: -1m\n", []string{"3 mistakes", "classes[0].fsType", "classes[0].wipe", "grace"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.text)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range append(c.want, "scratch configuration", "scratch.yaml") {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in the error:\n%v", w, err)
				}
			}
		})
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"16Mi": 16 << 20, "16777216": 16 << 20, "16777217": 17 << 20, "1Gi": gib, "1.5Gi": gib * 3 / 2, "20M": 20 << 20, "1Ei": 1 << 60, "2T": 1907349 << 20, "00100Gi": 100 * gib,
	} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"": "is not a size", " 1Gi": "is not a size", "1 Gi": "is not a size", "+1Gi": "is not a size", "-1Gi": "is not a size", "1e9": "is not a size",
		"1E9": "is not a size", "1Gib": "is not a size", "1GB": "is not a size", "100000000000m": "is not a size", "1K": "is not a size", ".5Gi": "is not a size",
		"1.Gi": "is not a size", "1,5Gi": "is not a size", "0x10": "is not a size", "1Gi\n": "is not a size", strings.Repeat("9", 21): "is not a size",
		"0": "is too small: the least is 16Mi", "16777215": "is too small", "0.1Gi": "is not a whole number", "20000000.5": "is not a whole number",
		"20000000.00000000001": "is not a whole number", "2Ei": "the most is 1Ei", "99999999999999999999E": "the most is 1Ei", "1152921504606846977": "the most is 1Ei",
	} {
		if got, err := ParseSize(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %d, %v; want %q", s, got, err, want)
		}
	}
}

func TestFormatSizeIsReadBack(t *testing.T) {
	for _, n := range []int64{16 << 20, 17 << 20, gib, 1500 << 20, 1 << 60, 1907349 << 20} {
		if got, err := ParseSize(FormatSize(n)); err != nil || got != n {
			t.Errorf("%d: %s, %d, %v", n, FormatSize(n), got, err)
		}
	}
	if FormatSize(0) != "0" || FormatSize(1025) != "1025" {
		t.Error(FormatSize(0), FormatSize(1025))
	}
}

func TestMountOptions(t *testing.T) {
	good := []string{"noatime", "lazytime", "exec", "noexec", "nodev", "nosuid", "data=writeback", "commit=60", "barrier=0", "errors=remount-ro", "allocsize=64m", "logbsize=256k"}
	if err := errors.Join(CheckMountOptions(nil), CheckMountOptions(good)); err != nil {
		t.Error(err)
	}
	for o, want := range map[string]string{
		"dev": "node's devices", "suid": "node's root", "defaults": "suid and dev", "discard": "`wipe: discard`", "remount": "driver's business", "bind": "driver's business",
		"loop": "driver's business", "loop=/dev/loop0": "driver's business", "offset=0": "driver's business", "usrquota": "limit of a volume", "ro": "readOnly",
		"context=system_u:object_r:tmp_t:s0": "seLinuxMount: false", "noload": "journal", "subvol=/": "driver's business", "compress=zstd": "whole disk", "nofail": "/etc/fstab",
		"errors=panic": "end the node", "noatime,dev": "entry of its own", "noatim": `did you mean "noatime"?`, "noatime=1": "has no value", "data": "ordered",
		"data=fast": "journal|ordered|writeback", "commit=-1": "[0-9]", "": "allowed: acl", "x-systemd.automount": "is not one that", "DEV": "is not one that", " dev": "is not one that",
	} {
		err := CheckMountOptions([]string{"noatime", o})
		if !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", o, err, want)
		}
	}
	err := CheckMountOptions([]string{"dev", "noatime", "suid"})
	if err == nil || !strings.Contains(err.Error(), `"dev"`) || !strings.Contains(err.Error(), `"suid"`) {
		t.Errorf("not each is named: %v", err)
	}
	for o := range refusedOptions {
		if _, both := allowedOptions[o]; both {
			t.Errorf("%s is both allowed and refused", o)
		}
	}
}
