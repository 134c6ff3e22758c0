package stack

// A node with tier scratch, and what kubelet does with a pod's own volume.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// ScratchNode is a node that serves tier scratch alone, on one disk.
type ScratchNode struct {
	*Node
	Disk string // where it is mounted
}

// StartScratchNode lets strata-node try whether it can make volumes of a kind, loop or btrfs, on the disk, and starts it. A disk that can't
// is an error that says why.
func (s *Stack) StartScratchNode(ctx context.Context, name, kind, disk string) (*ScratchNode, error) {
	n := &ScratchNode{&Node{Name: name, stack: s, dir: filepath.Join(s.Dir, name)}, disk}
	if err := os.MkdirAll(filepath.Join(n.kubelet(), "pods"), 0o750); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(n.dir, ScratchConfigName), []byte(ScratchConfig(kind, "path: "+disk)), 0o600); err != nil {
		return nil, err
	}
	scratch := scratchArgs(n.dir)
	probe := exec.CommandContext(ctx, filepath.Join(s.bin, "strata-node"), append(scratch, "--probe")...)
	if out, err := probe.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("strata-node --probe: %w\n%s", err, out)
	}
	n.args = ScratchNodeArgs(name, n.dir)
	return n, n.Start(ctx)
}

// ScratchConfigName is the scratch configuration of a node, in its directory.
const ScratchConfigName = "scratch.yaml"

// ScratchConfig is its text: one disk ("path: /disk" or "volumeGroup: name") for volumes of a kind.
func ScratchConfig(kind, disk string) string {
	return fmt.Sprintf("pools:\n- name: disks\n  kinds: [%s]\n  disks:\n  - %s\nclasses:\n- name: default\n  pool: disks\n", kind, disk)
}

// ScratchNodeArgs are the arguments of a strata-node with everything in dir, where its configuration and kubelet/pods must be.
func ScratchNodeArgs(name, dir string) []string {
	return append([]string{"--endpoint", "unix://" + filepath.Join(dir, socketName), "--node-id", name, "--cluster-config", "",
		"--mountd-socket", ""}, scratchArgs(dir)...)
}

func scratchArgs(dir string) []string {
	return []string{"--scratch-config", filepath.Join(dir, ScratchConfigName), "--state-dir", filepath.Join(dir, "state"), "--kubelet-dir", filepath.Join(dir, "kubelet")}
}

// JoinScratchNode waits for a node that somebody else started with ScratchNodeArgs. It can be told to publish and unpublish, and nothing else.
func JoinScratchNode(ctx context.Context, name, dir string) (*ScratchNode, error) {
	conn, err := dial(ctx, filepath.Join(dir, socketName), nil)
	if err != nil {
		return nil, err
	}
	return &ScratchNode{Node: &Node{Name: name, NodeClient: csi.NewNodeClient(conn), dir: dir}}, nil
}

func (n *ScratchNode) kubelet() string { return filepath.Join(n.dir, "kubelet") }
func (n *ScratchNode) state() string   { return filepath.Join(n.dir, "state") }

// inline is the name of the one volume that each pod has.
const inline = "scratch"

// InlineTarget is where kubelet wants the volume of a pod.
func (n *ScratchNode) InlineTarget(pod string) string { return InlineTarget(n.dir, pod) }

// InlineTarget is the same for a node with everything in dir.
func InlineTarget(dir, pod string) string {
	return filepath.Join(dir, "kubelet", "pods", pod, "volumes", "kubernetes.io~csi", inline, "mount")
}

// InlineID is the id that kubelet gives the volume of a pod.
func (n *ScratchNode) InlineID(pod string) string {
	sum := sha256.Sum256([]byte(pod + inline))
	return "csi-" + hex.EncodeToString(sum[:])
}

// PublishInline does what kubelet does when a pod with a volume of its own starts. The size is a Kubernetes quantity.
func (n *ScratchNode) PublishInline(ctx context.Context, pod, size string) error {
	target := n.InlineTarget(pod)
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	_, err := n.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: n.InlineID(pod), TargetPath: target,
		VolumeCapability: Capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER),
		VolumeContext: map[string]string{"csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.name": pod,
			"csi.storage.k8s.io/pod.namespace": "vision", "csi.storage.k8s.io/pod.uid": pod,
			"csi.storage.k8s.io/serviceAccount.name": "default", "size": size}})
	return err
}

// UnpublishInline does what kubelet does when the pod has ended.
func (n *ScratchNode) UnpublishInline(ctx context.Context, pod string) error {
	_, err := n.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: n.InlineID(pod), TargetPath: n.InlineTarget(pod)})
	return err
}

// Left lists what there is of volumes: mounts, loop devices, files and subvolumes on the disk, and records.
func (n *ScratchNode) Left() ([]string, error) {
	var left []string
	table, err := mountpoint.Read()
	if err != nil {
		return nil, err
	}
	for _, m := range table.Below(n.dir).Paths() {
		left = append(left, "mount "+m)
	}
	devices, err := devicesBelow(n.Disk)
	if err != nil {
		return nil, err
	}
	for file := range devices {
		left = append(left, "loop device over "+file)
	}
	volumes, err := os.ReadDir(filepath.Join(n.Disk, ".strata-scratch"))
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		left = append(left, "volume "+v.Name())
	}
	records, err := os.ReadDir(filepath.Join(n.state(), "scratch"))
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if strings.HasSuffix(r.Name(), ".json") {
			left = append(left, "record "+r.Name())
		}
	}
	return left, nil
}
