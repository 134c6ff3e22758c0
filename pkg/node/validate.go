package node

// What every request is checked for before anything is touched. All errors wrap volume.ErrInvalid.

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/volume"
)

// access is what a volume capability asks for, as far as a node cares.
type access struct {
	readOnly    bool // the mode only reads
	oncePerNode bool // the mode allows one published path on the node
	options     []string
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
	if c.GetBlock() != nil {
		return access{}, fmt.Errorf("%w: raw block is not supported; use volumeMode: Filesystem", volume.ErrInvalid)
	}
	m := c.GetMount()
	if m == nil {
		return access{}, fmt.Errorf("%w: volume_capability has no access type; only mount is supported", volume.ErrInvalid)
	}
	if m.GetVolumeMountGroup() != "" {
		return access{}, fmt.Errorf("%w: volume_mount_group is not supported: the driver doesn't have the VOLUME_MOUNT_GROUP capability", volume.ErrInvalid)
	}
	a := access{options: m.GetMountFlags()}
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

// ephemeral is set to "true" by kubelet in the context of a volume written into a pod's own specification.
const ephemeral = "csi.storage.k8s.io/ephemeral"

// checkPersistent refuses an inline volume: nobody has created one of these tiers.
func checkPersistent(t volume.Tier, context map[string]string) error {
	if context[ephemeral] == "true" {
		return fmt.Errorf("%w: tier %s has no inline (csi:) volumes; use a PersistentVolumeClaim or a generic ephemeral volume", volume.ErrInvalid, t)
	}
	return nil
}
