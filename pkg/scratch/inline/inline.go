// Package inline decides whether a pod may have the volume that is written into its own specification. On plain Kubernetes nobody else
// does: whoever may create a pod may name a CSI driver in it, with any attributes. A pod chooses a class and a size; all
// else comes from the operator's configuration. Nothing here touches the node.
package inline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// The volumeAttributes that a pod may give.
const (
	AttributeSize  = "size"  // a Kubernetes quantity; default: the class's
	AttributeClass = "class" // a class of the node's configuration; default: config.DefaultClass
)

var attributes = []string{AttributeClass, AttributeSize}

// Request is a volume that its pod may have.
type Request struct {
	Class config.Class
	Size  int64 // bytes, a multiple of 1 MiB, at least disk.MinSize
	// The pod, as kubelet names it, and the volume in its specification.
	PodUID, PodNamespace, PodName, VolumeName string
}

// Parse checks what a pod asks for against the configuration. Every refusal wraps volume.ErrInvalid, except of a CSIDriver object
// that withholds who the pod is: that is the operator's to change, volume.ErrPrecondition.
func Parse(spec tier.InlineSpec, c config.Config) (Request, error) {
	name, err := identify(spec)
	if err != nil {
		return Request{}, err
	}
	r := Request{PodUID: spec.Pod.UID, PodNamespace: spec.Pod.Namespace, PodName: spec.Pod.Name, VolumeName: name}
	if err := r.choose(spec, c); err != nil {
		return Request{}, fmt.Errorf("volume %s of pod %s/%s: %w", name, spec.Pod.Namespace, spec.Pod.Name, err)
	}
	return r, nil
}

// choose finds the class and the size.
func (r *Request) choose(spec tier.InlineSpec, c config.Config) error {
	for _, key := range slices.Sorted(maps.Keys(spec.Attributes)) {
		if !slices.Contains(attributes, key) {
			return fmt.Errorf("%w: volumeAttributes has %q, which a pod can't choose%s (allowed: %s)", volume.ErrInvalid, key,
				suggest.Hint(key, attributes), strings.Join(attributes, ", "))
		}
	}
	class, err := find(spec.Attributes[AttributeClass], c)
	if err != nil {
		return err
	}
	if spec.FSType != "" && spec.FSType != class.FSType {
		return fmt.Errorf("%w: fsType is %q and class %s has %s: remove it from the pod", volume.ErrInvalid, spec.FSType, class.Name, ownChoice(class.FSType))
	}
	if len(spec.Options) > 0 {
		return fmt.Errorf("%w: mount options %q: a pod's own volume has those of its class alone", volume.ErrInvalid, spec.Options)
	}
	size, err := size(spec.Attributes, class)
	if err != nil {
		return err
	}
	if class.MaxSize > 0 && size > class.MaxSize {
		return fmt.Errorf("%w: size %s is above what class %s allows, %s", volume.ErrInvalid, config.FormatSize(size), class.Name, config.FormatSize(class.MaxSize))
	}
	r.Class, r.Size = class, size
	return nil
}

func ownChoice(fsType string) string {
	if fsType == "" {
		return "the disk's own choice"
	}
	return fsType
}

func find(name string, c config.Config) (config.Class, error) {
	if name == "" {
		name = config.DefaultClass
	}
	var names []string
	for _, class := range c.Classes {
		if class.Name == name {
			return class, nil
		}
		names = append(names, class.Name)
	}
	return config.Class{}, fmt.Errorf("%w: volumeAttributes: this node has no class %q%s (it has: %s)", volume.ErrInvalid, name,
		suggest.Hint(name, names), strings.Join(names, ", "))
}

func size(attributes map[string]string, class config.Class) (int64, error) {
	s, given := attributes[AttributeSize]
	if !given {
		if class.DefaultSize == 0 {
			return 0, fmt.Errorf("%w: volumeAttributes: size is missing, and class %s has no default", volume.ErrInvalid, class.Name)
		}
		return config.RoundUp(class.DefaultSize), nil
	}
	n, err := config.ParseSize(s)
	if err != nil {
		return 0, fmt.Errorf("%w: volumeAttributes: size %q %v", volume.ErrInvalid, s, err)
	}
	return n, nil
}

// identify proves that the request is kubelet's own for this pod, and returns the volume's name in the pod's specification.
//
// Kubelet makes the id of an inline volume from the pod's UID and the volume's name, and the target path of both:
// .../pods/UID/volumes/kubernetes.io~csi/NAME/mount (kubernetes, pkg/volume/csi/csi_mounter.go: makeVolumeHandle, getTargetPath,
// GetCSIMounterPath). The name of a pod's volume is a DNS label, so nothing in it is escaped. An attribute csi.storage.k8s.io/pod.uid that
// the pod's author wrote stands in the request where kubelet doesn't overwrite it; it can't fit the path that kubelet chose.
func identify(spec tier.InlineSpec) (string, error) {
	if spec.Pod.Name == "" || spec.Pod.Namespace == "" || spec.Pod.UID == "" {
		return "", fmt.Errorf("%w: the request doesn't say which pod the volume is for: the CSIDriver object of the driver needs `podInfoOnMount: true`",
			volume.ErrPrecondition)
	}
	uid, name, ok := parsePath(spec.Path)
	if !ok {
		return "", fmt.Errorf("%w: target path %q isn't one that kubelet makes for a pod's own volume: .../pods/UID/volumes/%s/NAME/mount",
			volume.ErrInvalid, spec.Path, pluginDir)
	}
	if uid != spec.Pod.UID {
		return "", fmt.Errorf("%w: the request names the pod with the UID %q and the target path the one with %q: kubelet made only one of them; "+
			"the CSIDriver object of the driver needs `podInfoOnMount: true`", volume.ErrInvalid, spec.Pod.UID, uid)
	}
	if want := ID(uid, name); spec.ID != want {
		return "", fmt.Errorf("%w: the id of volume %s of pod %s/%s is %q and kubelet would have made %s", volume.ErrInvalid, name,
			spec.Pod.Namespace, spec.Pod.Name, spec.ID, want)
	}
	return name, nil
}

// pluginDir is kubelet's name for CSI in paths: kubernetes.io/csi, escaped.
const pluginDir = "kubernetes.io~csi"

// parsePath takes a target path apart. It must be one that needs no cleaning: another spelling could be another directory's.
func parsePath(path string) (uid, name string, ok bool) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return "", "", false
	}
	parts := strings.Split(path, "/")
	if len(parts) < 7 {
		return "", "", false
	}
	p := parts[len(parts)-6:]
	if p[0] != "pods" || p[2] != "volumes" || p[3] != pluginDir || p[5] != "mount" || !label(p[4]) {
		return "", "", false
	}
	return p[1], p[4], true
}

// label says whether s is a DNS label (RFC 1123), as kubernetes wants the name of a pod's volume to be.
func label(s string) bool {
	ok := len(s) >= 1 && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	return ok
}

// ID is what kubelet calls the volume of a pod's specification: "csi-" and 64 hexadecimal digits.
func ID(podUID, volumeName string) string {
	sum := sha256.Sum256([]byte(podUID + volumeName))
	return "csi-" + hex.EncodeToString(sum[:])
}
