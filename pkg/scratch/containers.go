package scratch

// Whether a container still has a volume. It has a mount of its own then, in a mount namespace of its own: unmounting kubelet's target succeeds
// all the same, and on a disk whose volumes are directories so would destroying it.

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// unusedByContainers returns nil when no process that proc (/proc) shows has the volume of a record mounted elsewhere than in the directory
// that kubelet has of its pod. Where kubelet's directory is shared with other containers its mounts are seen there too; they are no use of
// the volume. Runtimes that keep containers in virtual machines have a mount on the node. The error says who has it, or what can't be seen.
func unusedByContainers(proc string, r record) error {
	m, found, err := mountpoint.Find(r.Path)
	if err != nil || !found {
		return err // without a mount, the disk itself knows whether the volume is in use
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		ns, err := os.Readlink(filepath.Join(dir, "ns", "mnt"))
		if err == nil && !seen[ns] {
			err = unusedIn(filepath.Join(dir, "mountinfo"), r, m)
		}
		switch {
		case hasEnded(err):
		case err != nil:
			return fmt.Errorf("process %s: %w", e.Name(), err)
		default:
			seen[ns] = true
		}
	}
	if len(seen) == 0 {
		return fmt.Errorf("%s shows no process", proc)
	}
	return nil
}

// hasEnded says whether a process ended while it was looked at; one that is waited for has no mount namespace any more.
func hasEnded(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
}

// unusedIn reads the mounts of one namespace.
func unusedIn(path string, r record, m *mountpoint.Mount) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	mounts, err := mountinfo.GetMountsFromReader(bufio.NewReader(f), nil)
	if err != nil {
		return err
	}
	for _, other := range mounts {
		if sameVolume(other.Major, other.Minor, other.Root, m) && !kubelets(other.Mountpoint, r.Pod.UID) {
			return fmt.Errorf("has volume %s mounted at %s", r.ID, other.Mountpoint)
		}
	}
	return nil
}

// sameVolume says whether a mount shows the volume that m is a mount of, or a part of it. The device may have other volumes beside it.
func sameVolume(major, minor int, root string, m *mountpoint.Mount) bool {
	return major == m.Major && minor == m.Minor && (root == m.Root || strings.HasPrefix(root, strings.TrimSuffix(m.Root, "/")+"/"))
}

// kubelets says whether a path is in kubelet's directory of a pod, wherever that is mounted.
func kubelets(path, uid string) bool { return strings.Contains(path+"/", "/pods/"+uid+"/") }
