package probe

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// shared are the file systems that are used, each with its first place. Subvolumes of one btrfs count as several.
type shared map[unix.Fsid]use

type use struct {
	path string
	kind disk.Kind
}

// take refuses a place on a file system that another place has, unless each sees what the other was promised: of loop the images, of btrfs
// the groups. Otherwise both would promise the same space.
func (s shared) take(place config.Place, kind disk.Kind) error {
	if place.Path == "" {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(place.Path, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: place.Path, Err: err}
	}
	if st.Fsid == (unix.Fsid{}) { // it doesn't say which it is
		return nil
	}
	first, taken := s[st.Fsid]
	if !taken {
		s[st.Fsid] = use{place.Path, kind}
		return nil
	}
	if first.kind == kind && kind != disk.XFS {
		return nil
	}
	return &disk.Refused{Kind: kind, Reason: fmt.Sprintf("it is on the file system of %s, which is used as %s, and both would promise the same space: "+
		"leave one of them out, or give it a file system of its own", first.path, first.kind)}
}
