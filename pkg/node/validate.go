package node

// What every request is checked for before anything is touched. All errors wrap volume.ErrInvalid.

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/volume"
)

// access is what a volume capability asks for, as far as a node cares.
type access struct {
	readOnly    bool // the mode only reads
	oncePerNode bool // the mode allows one published path on the node
	block       bool // as a raw block device; nothing below is set then
	fsType      string
	options     []string
	group       *uint32 // that the files shall belong to; nil: none is asked for
}

// missing is the error of a required field that is empty.
func missing(field string) error {
	return fmt.Errorf("%w: %s is missing", volume.ErrInvalid, field)
}

// checkCapability reads a capability.
func checkCapability(c *csi.VolumeCapability) (access, error) {
	if c == nil {
		return access{}, missing("volume_capability")
	}
	a := access{block: c.GetBlock() != nil, fsType: c.GetMount().GetFsType(), options: c.GetMount().GetMountFlags()}
	if !a.block && c.GetMount() == nil {
		return access{}, fmt.Errorf("%w: volume_capability has no access type", volume.ErrInvalid)
	}
	var err error
	if a.group, err = readGroup(c.GetMount().GetVolumeMountGroup()); err != nil {
		return access{}, err
	}
	switch mode := c.GetAccessMode().GetMode(); mode {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY, csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:
		a.readOnly = true
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER:
		a.oncePerNode = true
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
		csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER, csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:
	default:
		return access{}, fmt.Errorf("%w: access mode %s is not known", volume.ErrInvalid, mode)
	}
	return a, nil
}

// noGroup is (gid_t)-1, by which the kernel understands that a group is to stay as it is (chown(2)).
const noGroup = 1<<32 - 1

// readGroup reads a volume_mount_group: the number of a group, as kubelet gives a pod's fsGroup. A name would mean another group on each node.
func readGroup(s string) (*uint32, error) {
	if s == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == noGroup {
		return nil, fmt.Errorf("%w: volume_mount_group %.80q is not the number of a group, 0 to %d", volume.ErrInvalid, s, noGroup-1)
	}
	group := uint32(n)
	return &group, nil
}

// checkPath wants a path that means one place whoever reads it: absolute, without "..", "." or doubled slashes, and
// never the root. A path that needs cleaning is refused and not cleaned: what it was before is what
// the orchestrator believes in. A trailing slash is harmless and dropped.
func checkPath(field, path string) (string, error) {
	if path == "" {
		return "", missing(field)
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%w: %s %q is not absolute", volume.ErrInvalid, field, path)
	}
	if strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("%w: %s %q contains a zero byte", volume.ErrInvalid, field, path)
	}
	trimmed := strings.TrimSuffix(path, "/")
	if trimmed == "" || filepath.Clean(trimmed) != trimmed {
		return "", fmt.Errorf("%w: %s %q is not a clean path (no \"..\", no \".\", no \"//\", not \"/\")", volume.ErrInvalid, field, path)
	}
	return trimmed, nil
}

// inside tells whether path is dir or below it; both are clean.
func inside(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}
