package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// maxNameLength is the most bytes a name may have (CSI spec, "Size Limits").
const maxNameLength = 128

// paramTier is the one StorageClass parameter that belongs to no tier.
const paramTier = "tier"

// Kubernetes' own parameters begin with kubernetesPrefix; external-provisioner adds these three with
// --extra-create-metadata.
const (
	kubernetesPrefix = "csi.storage.k8s.io/"
	keyPV            = kubernetesPrefix + "pv/name"
	keyPVC           = kubernetesPrefix + "pvc/name"
	keyNamespace     = kubernetesPrefix + "pvc/namespace"
)

func checkName(name string) error {
	switch {
	case name == "":
		return missing("name")
	case len(name) > maxNameLength:
		return fmt.Errorf("%w: name has %d bytes; at most %d are allowed", volume.ErrInvalid, len(name), maxNameLength)
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return fmt.Errorf("%w: name isn't UTF-8 text", volume.ErrInvalid)
	}
	return nil
}

// split keeps a class's own parameters apart from Kubernetes'.
func split(parameters map[string]string) (map[string]string, volume.Owner) {
	own := maps.Clone(parameters)
	maps.DeleteFunc(own, func(key, _ string) bool { return strings.HasPrefix(key, kubernetesPrefix) })
	return own, volume.Owner{PV: parameters[keyPV], PVC: parameters[keyPVC], Namespace: parameters[keyNamespace]}
}

// modes are the access modes that a shared file system can keep to. A single writer among readers on other nodes
// (MULTI_NODE_SINGLE_WRITER) is nothing that it could enforce.
var modes = []csi.VolumeCapability_AccessMode_Mode{
	csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
	csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY,
	csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER,
}

// unsupported returns why a volume of the tier can't be used in one of these ways, or "".
func unsupported(b tier.Backend, capabilities []*csi.VolumeCapability) string {
	for _, c := range capabilities {
		mode := c.GetAccessMode().GetMode()
		block := c.GetBlock() != nil
		switch {
		case block && b.AccessChecker == nil:
			return "raw block volumes aren't offered: use volumeMode: Filesystem"
		case !block && c.GetMount() == nil:
			return "a volume capability without an access type; mount is the one supported"
		case !slices.Contains(modes, mode):
			names := make([]string, len(modes))
			for i, m := range modes {
				names[i] = m.String()
			}
			return fmt.Sprintf("access mode %s isn't offered: use one of %s", mode, strings.Join(names, ", "))
		case block && accessOf([]*csi.VolumeCapability{c}).ReadOnly:
			return fmt.Sprintf("raw block volumes aren't offered read-only (%s): nothing on a node would stop a write to the device; "+
				"use another access mode, or volumeMode: Filesystem", mode)
		}
	}
	if b.AccessChecker != nil && len(capabilities) > 0 {
		if err := b.AccessChecker.CheckAccess(accessOf(capabilities)); err != nil {
			return err.Error()
		}
	}
	return ""
}

// accessOf sums the capabilities up for a backend.
func accessOf(capabilities []*csi.VolumeCapability) volume.Access {
	a := volume.Access{ReadOnly: true}
	for _, c := range capabilities {
		a.Block = a.Block || c.GetBlock() != nil
		switch c.GetAccessMode().GetMode() {
		case csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:
		case csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:
			a.MultiNode = true
		case csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:
			a.MultiNode = true
			a.ReadOnly = false
		default:
			a.ReadOnly = false
		}
	}
	return a
}

// segmentsOf are the segments of a request, the preferred ones first, each once. A requirement without any asks for nothing.
func segmentsOf(r *csi.TopologyRequirement) ([]volume.Segment, error) {
	var out []volume.Segment
	for _, t := range slices.Concat(r.GetPreferred(), r.GetRequisite()) {
		s := volume.Segment(t.GetSegments())
		if err := tier.CheckSegment(s); err != nil {
			return nil, fmt.Errorf("accessibility_requirements: %w", err)
		}
		if !slices.ContainsFunc(out, func(o volume.Segment) bool { return maps.Equal(o, s) }) {
			out = append(out, s)
		}
	}
	return out, nil
}

func rangeOf(r *csi.CapacityRange) (volume.CapacityRange, error) {
	out := volume.CapacityRange{Required: r.GetRequiredBytes(), Limit: r.GetLimitBytes()}
	return out, out.Check()
}

// sourceOf reads a content source. What it names may have an id that isn't ours: such a thing doesn't exist.
func sourceOf(c *csi.VolumeContentSource) (volume.Source, error) {
	switch {
	case c == nil:
		return volume.Source{}, nil
	case c.GetSnapshot() != nil:
		id, err := volume.ParseSnapshotID(c.GetSnapshot().GetSnapshotId())
		if err != nil {
			return volume.Source{}, notOurs("snapshot", err)
		}
		return volume.Source{Snapshot: id}, nil
	case c.GetVolume() != nil:
		id, err := volume.ParseID(c.GetVolume().GetVolumeId())
		if err != nil {
			return volume.Source{}, notOurs("volume", err)
		}
		return volume.Source{Volume: id}, nil
	}
	return volume.Source{}, fmt.Errorf("%w: volume_content_source names neither a snapshot nor a volume", volume.ErrInvalid)
}
