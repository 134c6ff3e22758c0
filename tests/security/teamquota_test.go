package security

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/tests/harness"
)

// TestATeamIsHeldToItsQuota: the controller promises no more than teamQuota, and what it promised is what a client is held to. That Ceph
// alone doesn't hold a client with a volume's identity to the quota of the group above is a fact that the design stands on.
func TestATeamIsHeldToItsQuota(t *testing.T) {
	l := newLab(t)
	team := []string{"team", "tight", "teamQuota", "128Mi"}
	a, b := l.volume("a", team...), l.volume("b", team...)
	refusedForQuota := func(what string, err error, free int64) {
		t.Helper()
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), fmt.Sprintf("%d are free", free)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := l.controller.CreateVolume(l.call(), own(harness.Request("c", 64*mib, team...)))
	refusedForQuota("a third volume", err, 0)
	_, err = l.controller.ControllerExpandVolume(l.call(), &csi.ControllerExpandVolumeRequest{VolumeId: a.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: 68 * mib}})
	refusedForQuota("growing", err, 64*mib)
	copied := own(harness.Request("copied", 64*mib, team...))
	copied.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: a.GetVolumeId()}}}
	_, err = l.controller.CreateVolume(l.call(), copied)
	refusedForQuota("a copy", err, 0)

	group := filepath.Dir(filepath.Dir(l.root + a.path))
	if got := harness.Xattr(t, group, "ceph.quota.max_bytes"); got != fmt.Sprint(128*mib) {
		t.Errorf("the group's quota: %s", got)
	}
	if err := unix.Setxattr(group, "ceph.quota.max_bytes", fmt.Appendf(nil, "%d", 8*mib), 0); err != nil {
		t.Fatal(err)
	}
	confined := l.ceph.As(t, a.secret).Mount(t, a.path)
	if err := fill(filepath.Join(confined, "more than the group has"), 32); err != nil {
		t.Errorf("a client that sees its volume alone is held to the quota of the group now: %v; see docs/decisions/0037", err)
	}
	if err := fill(filepath.Join(confined, "more than the volume has"), 64); !errors.Is(err, syscall.EDQUOT) {
		t.Errorf("more than the volume's own quota: %v", err)
	}
	harness.Eventually(t, "the group is full", harness.Patience, func() error {
		err := fill(filepath.Join(l.root+b.path, "seen"), 1)
		if err == nil {
			return errors.New("a client that sees the group goes beyond its quota")
		}
		if !errors.Is(err, syscall.EDQUOT) {
			t.Fatal(err)
		}
		return nil
	})

	// More for the team, by the operator: then there is room for the copy.
	l.ceph.Run(t, "fs", "subvolumegroup", "resize", harness.FS, filepath.Base(group), fmt.Sprint(256*mib))
	var made *csi.CreateVolumeResponse
	harness.Eventually(t, "the copy", harness.Patience, func() (err error) {
		made, err = l.controller.CreateVolume(l.call(), copied)
		return err
	})
	l.delete(victim{Volume: made.GetVolume()})
	l.delete(a)
	l.delete(b)
}

// fill writes a file of some MiB, as far as it goes.
func fill(path string, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for range size {
		if _, err = f.Write(bytes.Repeat([]byte{1}, 1<<20)); err != nil {
			break
		}
	}
	return errors.Join(err, f.Sync(), f.Close())
}
