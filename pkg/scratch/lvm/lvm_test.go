package lvm

// What needs no device-mapper: how reports are read, how space is planned, what LVM's words mean.

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// spoken answers every command of a name with the same text.
type spoken map[string]string

func (s spoken) run(ctx context.Context, command string, _ ...string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out, ok := s[command]
	if !ok {
		return nil, errors.New("lvm " + command + " was not expected")
	}
	return []byte(out), nil
}

const (
	vgsReport = `{"report":[{"pv":[
		{"vg_name":"g","vg_extent_size":"4194304","vg_permissions":"writeable","pv_name":"/dev/a","pv_pe_count":"100","pv_pe_alloc_count":"40","pv_allocatable":"1","pv_missing":"0"},
		{"vg_name":"g","vg_extent_size":"4194304","vg_permissions":"writeable","pv_name":"/dev/b","pv_pe_count":"100","pv_pe_alloc_count":"10","pv_allocatable":"0","pv_missing":"0"},
		{"vg_name":"g","vg_extent_size":"4194304","vg_permissions":"writeable","pv_name":"[unknown]","pv_pe_count":"100","pv_pe_alloc_count":"10","pv_allocatable":"1","pv_missing":"1"}
	]}]}`
	lvsReport = `{"report":[{"lv":[
		{"lv_name":"strata-scratch-a","lv_size":"67108864","lv_tags":"strata,strata.is=ext4","lv_active":"1","lv_device_open":"1","lv_health_status":""},
		{"lv_name":"strata-scratch-b.grow","lv_size":"4194304","lv_tags":"strata","lv_active":"0","lv_device_open":"0","lv_health_status":"partial"},
		{"lv_name":"strata-scratch-theirs","lv_size":"4194304","lv_tags":"","lv_active":"1","lv_device_open":"0","lv_health_status":""},
		{"lv_name":"root","lv_size":"4194304","lv_tags":"strata","lv_active":"1","lv_device_open":"1","lv_health_status":""}
	]}]}`
)

func TestReports(t *testing.T) {
	d := newDisk("g", spoken{"vgs": vgsReport, "lvs": lvsReport})
	names, err := d.List(t.Context())
	if err != nil || strings.Join(names, " ") != "a b" {
		t.Errorf("List: %q, %v", names, err)
	}
	// 60 extents of the one disk that can be used, and what ours have.
	if c, err := d.Capacity(t.Context()); err != nil || c != 60*4<<20+64<<20+4<<20 {
		t.Errorf("Capacity: %d, %v", c, err)
	}
	l, err := d.find(t.Context(), "a")
	if err != nil || l != (logical{name: "strata-scratch-a", size: 64 << 20, is: "ext4", active: true, open: true}) {
		t.Errorf("find: %+v, %v", l, err)
	}
	if _, err := d.find(t.Context(), "theirs"); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("somebody's volume: %v", err)
	}
	if err := d.Destroy(t.Context(), "theirs", disk.WipeNone); err != nil {
		t.Errorf("Destroy of somebody's volume is of none of ours: %v", err)
	}
	found, err := d.Health(t.Context(), "gone", "")
	if err != nil || len(found) != 1 || found[0].Reason != "VolumeMissing" {
		t.Errorf("Health of what isn't there: %v, %v", found, err)
	}
	g, err := d.group(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	healthOfGroup("g", g, func(_ volume.Severity, reason, _ string, _ ...any) { said = append(said, reason) })
	if strings.Join(said, " ") != "DiskMissing" {
		t.Errorf("health of a group with a missing disk: %q", said)
	}
}

func TestReportsThatCantBeRead(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "  WARNING: hm", "no report": `{"report":[]}`, "no disks": `{"report":[{"vg":[]}]}`,
		"no number":  strings.ReplaceAll(vgsReport, `"4194304"`, `"4.00m"`),
		"no size":    strings.ReplaceAll(vgsReport, `"4194304"`, `""`),
		"left field": strings.ReplaceAll(vgsReport, "pv_pe_alloc_count", "other"),
	} {
		t.Run(name, func(t *testing.T) {
			if g, err := newDisk("g", spoken{"vgs": text}).group(t.Context()); err == nil {
				t.Errorf("was read as %+v", g)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	const extent = 4 << 20
	disks := func(free ...int64) (g group) {
		g.extent = extent
		for _, f := range free {
			g.disks = append(g.disks, physical{free: f, total: 100, usable: true})
		}
		return g
	}
	held := disks(10, 10)
	held.disks[1].usable = false
	locked := disks(10)
	locked.readOnly = true
	for _, c := range []struct {
		name            string
		g               group
		size            int64
		stripes, extent int64
		linear          bool
		err             error
	}{
		{"one disk", disks(10), 3 * extent, 1, 3, false, nil},
		{"rounded up", disks(10), 3*extent - 1<<20, 1, 3, false, nil},
		{"striped", disks(10, 10), 4 * extent, 2, 4, false, nil},
		{"rounded up to every stripe", disks(10, 10, 10), 4 * extent, 3, 6, false, nil},
		{"one disk has too little", disks(10, 1), 4 * extent, 1, 4, true, nil},
		{"all there is", disks(10, 10), 20 * extent, 2, 20, false, nil},
		{"all there is, unequal", disks(10, 9), 19 * extent, 1, 19, true, nil},
		{"rounding up would be too much", disks(2, 1), 3 * extent, 1, 3, true, nil},
		{"too much", disks(10, 10), 21 * extent, 0, 0, false, volume.ErrExhausted},
		{"a disk that takes nothing new", held, 4 * extent, 1, 4, false, nil},
		{"read-only", locked, extent, 0, 0, false, volume.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := plan(c.g, c.size)
			if !errors.Is(err, c.err) || l.stripes != c.stripes || l.extents != c.extent || (l.linear != "") != c.linear {
				t.Errorf("got %+v, %v", l, err)
			}
		})
	}
}

// The words are those of LVM 2.03.
func TestFailures(t *testing.T) {
	exit := errors.New("exit status 5")
	for words, is := range map[string]error{
		`  Volume group "g" has insufficient free space (10 extents): 20 required.`:                  volume.ErrExhausted,
		`  Insufficient suitable allocatable extents for logical volume x: 6 more required`:          volume.ErrExhausted,
		`  Logical volume g/strata-scratch-a in use.`:                                                volume.ErrUnavailable,
		`  Logical volume g/strata-scratch-a contains a filesystem in use.`:                          volume.ErrUnavailable,
		`  Cannot change VG g while PVs are missing.`:                                                volume.ErrUnavailable,
		`  Volume group "g" not found` + "\n" + `  Cannot process volume group g`:                    volume.ErrUnavailable,
		`  Failed to find logical volume "g/strata-scratch-a"`:                                       volume.ErrNotFound,
		`  Logical Volume "strata-scratch-a" already exists in volume group "g"`:                     volume.ErrExists,
		`  device-mapper: reload ioctl on (254:0) failed: Invalid argument (not one of the tables).`: exit,
	} {
		err := failed(t.Context(), "lvcreate", []string{"-n", "x"}, words, exit)
		if !errors.Is(err, is) || !errors.Is(err, exit) || !strings.Contains(err.Error(), "lvm lvcreate -n x") {
			t.Errorf("%s: %v", words, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := failed(gone, "lvs", nil, "Interrupted...", exit); !errors.Is(err, context.Canceled) {
		t.Errorf("a command that was cancelled: %v", err)
	}
}

func TestNames(t *testing.T) {
	d := newDisk("my-group", spoken{})
	if got, want := d.node(prefix+"a-b"), "/dev/mapper/my--group-strata--scratch--a--b"; got != want {
		t.Errorf("device node %s, want %s", got, want)
	}
	long := "v" + strings.Repeat("-", 60)
	if err := d.CheckSpec(disk.Spec{Name: long, Size: 64 << 20}); !errors.Is(err, volume.ErrInvalid) {
		t.Errorf("a device name too long for the kernel: %v", err)
	}
	if err := d.CheckSpec(disk.Spec{Name: "v" + strings.Repeat("0", 32), Size: 64 << 20}); err != nil {
		t.Error(err)
	}
	for _, vg := range []string{"", ".", "..", "-x", "a/b", "a b", "--help"} {
		_, err := Probe(t.Context(), vg)
		if refused := (*disk.Refused)(nil); !errors.As(err, &refused) || refused.Kind != disk.LVM {
			t.Errorf("Probe of %q: %v", vg, err)
		}
	}
}
