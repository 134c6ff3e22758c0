package btrfs

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/btrfs/btrfstest"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

func TestProbeRefuses(t *testing.T) {
	run := func(t *testing.T, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T) string
		says    string
	}{
		{"another file system", func(*testing.T) string { return "/proc" }, "isn't on btrfs"},
		{"nothing", func(*testing.T) string { return "/nothing/here" }, "no such file"},
		{"full quota groups", func(t *testing.T) string {
			path := btrfstest.New(t, 512<<20)
			run(t, "btrfs", "quota", "enable", path)
			return path
		}, "btrfs quota disable"},
		{"somebody's groups", func(t *testing.T) string {
			path := btrfstest.New(t, 512<<20)
			if err := prepare(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			run(t, "btrfs", "qgroup", "create", "1/77", path)
			return path
		}, "1/77"},
		{"read-only", func(t *testing.T) string {
			path := btrfstest.New(t, 512<<20)
			run(t, "mount", "-o", "remount,ro", path)
			return path
		}, "read-only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Probe(t.Context(), c.prepare(t))
			var refused *disk.Refused
			if d != nil || !errors.As(err, &refused) || refused.Kind != disk.Btrfs || !strings.Contains(refused.Reason, c.says) {
				t.Errorf("%v, %v; want a refusal that says %q", d, err, c.says)
			}
		})
	}
}

func TestHealthSeesThatTheLimitIsGone(t *testing.T) {
	path := btrfstest.New(t, 1<<30)
	d, err := Probe(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Create(t.Context(), disk.Spec{Name: "volume", Size: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	if found, err := d.Health(t.Context(), "volume", ""); err != nil || len(found) != 0 {
		t.Errorf("a healthy volume: %v, %v", found, err)
	}
	if out, err := exec.CommandContext(t.Context(), "btrfs", "quota", "disable", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if found, err := d.Health(t.Context(), "volume", ""); err != nil || len(found) != 1 || found[0].Reason != "NoLimit" {
		t.Errorf("without quotas: %v, %v", found, err)
	}
}
