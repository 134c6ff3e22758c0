package localfs

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		fsType  string
		options []string
		flags   uintptr
		data    string
		refused bool
	}{
		{"ext4", nil, unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID, "errors=remount-ro", false},
		{"xfs", []string{"logbsize=256k"}, unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID, "logbsize=256k", false},
		{"ext4", []string{"relatime", "errors=continue", "commit=60"}, unix.MS_RELATIME | unix.MS_NODEV | unix.MS_NOSUID, "errors=continue,commit=60", false},
		{"ext4", []string{"noexec", "exec"}, unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID, "errors=remount-ro", false},
		{"ext4", []string{"discard"}, 0, "", true},
		{"ext4", []string{"suid"}, 0, "", true},
		{"ext4", []string{"dev"}, 0, "", true},
		{"ext4", []string{"noatime,discard"}, 0, "", true},
		{"ext4", []string{"rw"}, 0, "", true},
		{"ext4", []string{""}, 0, "", true},
	} {
		flags, data, err := Options(c.fsType, disk.Mount{Options: c.options})
		if c.refused {
			if !errors.Is(err, volume.ErrInvalid) {
				t.Errorf("%q: %v", c.options, err)
			}
			continue
		}
		if err != nil || flags != c.flags || data != c.data {
			t.Errorf("%q: %x %q %v", c.options, flags, data, err)
		}
	}
}
