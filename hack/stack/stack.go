// Package stack is all of Strata on one machine, for the demo and the benchmarks: a Ceph of its own, a controller and nodes as
// processes, and disks of tier scratch, below one directory that Down clears away.
package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// Stack is one such installation.
type Stack struct {
	// Dir is the directory that everything is below.
	Dir        string
	Controller csi.ControllerClient
	Nodes      []*Node

	root, bin string
	portBase  int
	secrets   map[string]string
	programs  []*program
	began     time.Time
}

// Node is one of the nodes: a strata-mountd and a strata-node with directories of their own.
type Node struct {
	csi.NodeClient
	Name string

	stack   *Stack
	dir     string
	program *program
	args    []string
}

// socketName is the CSI socket of a node, in its directory.
const socketName = "n.sock"

// New names the installation below .strata of the checkout, and the first of the 200 ports that its Ceph uses. It must be called by the
// main goroutine, which stays on its thread from then on: the programs die with the thread that starts them.
func New(name string, portBase int) (*Stack, error) {
	runtime.LockOSThread()
	if os.Geteuid() != 0 {
		return nil, errors.New("must be run as root: it installs packages and mounts file systems")
	}
	out, err := exec.Command("go", "env", "GOMOD").Output()
	root := filepath.Dir(strings.TrimSpace(string(out)))
	if _, statErr := os.Stat(filepath.Join(root, "hack", "stack")); err != nil || statErr != nil {
		return nil, errors.New("must be run inside the checkout")
	}
	return &Stack{Dir: filepath.Join(root, ".strata", name), root: root, bin: filepath.Join(root, "bin"), portBase: portBase,
		began: time.Now()}, nil
}

// Step says what happens next.
func (s *Stack) Step(format string, args ...any) {
	fmt.Printf("[%5.1fs] %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// CephFile is the path of a file of the Ceph cluster.
func (s *Stack) CephFile(name string) string { return filepath.Join(s.Dir, "ceph", name) }

// Path is the path of a file of the checkout.
func (s *Stack) Path(name string) string { return filepath.Join(s.root, name) }

// Monitor is the address of the cluster's monitor.
func (s *Stack) Monitor() string { return fmt.Sprintf("127.0.0.1:%d", s.portBase) }

// Up clears away what was there, installs what is missing, starts Ceph, builds the programs, and starts a controller and the nodes.
func (s *Stack) Up(ctx context.Context, nodes ...string) error {
	if err := s.begin(); err != nil {
		return err
	}
	s.Step("a real Ceph: mon, mgr, 8 OSDs, 2 MDS, S3 gateway")
	if err := s.command(ctx, nil, "go", "run", "./hack/ceph", "start", "--dir", s.CephFile(""), "--port-base", strconv.Itoa(s.portBase)); err != nil {
		return err
	}
	s.Step("building strata-controller, strata-node, strata-mountd and strata-coldfs")
	if err := s.command(ctx, nil, "make", "--silent", "build"); err != nil {
		return err
	}
	if err := s.prepareCold(); err != nil {
		return err
	}
	if err := s.startController(ctx); err != nil {
		return err
	}
	for _, name := range nodes {
		if err := s.startNode(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// UpWithoutCeph clears away what was there and builds the programs that are named, and nothing else.
func (s *Stack) UpWithoutCeph(ctx context.Context, programs ...string) error {
	if err := s.begin(); err != nil {
		return err
	}
	s.Step("building %s", strings.Join(programs, ", "))
	return s.command(ctx, nil, "make", append([]string{"--silent"}, programs...)...)
}

// Install installs the Debian packages that are missing of all that the checkout needs, and those named besides.
func (s *Stack) Install(ctx context.Context, packages ...string) error {
	return s.command(ctx, nil, "go", append([]string{"run", "./hack/ceph", "install"}, packages...)...)
}

// begin clears away what was there and makes the directory.
func (s *Stack) begin() error {
	if err := s.Down(); err != nil {
		return err
	}
	return os.MkdirAll(s.Dir, 0o700)
}

// ClusterID is the id of the cluster in every volume id.
const ClusterID = "demo"

func (s *Stack) startController(ctx context.Context) error {
	key, err := s.Tool("ceph", "auth", "print-key", "client.strata-node")
	if err != nil {
		return err
	}
	_, access, err := s.gateway()
	if err != nil {
		return err
	}
	// Each tier reads its own of them.
	s.secrets = map[string]string{"userID": "strata-node", "userKey": key, "accessKeyID": access.AccessKeyID, "secretAccessKey": access.SecretAccessKey}
	entry := fmt.Sprintf("clusters:\n- clusterID: %s\n  monitors: [%q]\n", ClusterID, s.Monitor())
	for name, text := range map[string]string{
		"node.yaml": entry,
		"controller.yaml": entry + "  namePrefix: demo\n  controller: {user: strata-controller, keyringFile: " +
			s.CephFile("ceph.client.strata-controller.keyring") + "}\n",
	} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	socket := filepath.Join(s.Dir, "controller.sock")
	p, err := s.launch("strata-controller", "controller", "--endpoint", "unix://"+socket, "--cluster-config", filepath.Join(s.Dir, "controller.yaml"), "--cold")
	if err != nil {
		return err
	}
	conn, err := connect(ctx, p, socket)
	if err != nil {
		return err
	}
	s.Controller = csi.NewControllerClient(conn)
	return nil
}

func (s *Stack) startNode(ctx context.Context, name string) error {
	n := &Node{Name: name, stack: s, dir: filepath.Join(s.Dir, name)}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	mountd := filepath.Join(n.dir, "m.sock")
	args := append([]string{"--socket", mountd, "--state-dir", filepath.Join(n.dir, "state"), "--log-dir", filepath.Join(n.dir, "log")}, s.engines(name, "2Gi")...)
	if _, err := s.launch("strata-mountd", name+"-mountd", args...); err != nil {
		return err
	}
	n.args = []string{"--endpoint", "unix://" + filepath.Join(n.dir, socketName), "--node-id", name,
		"--cluster-config", filepath.Join(s.Dir, "node.yaml"), "--mountd-socket", mountd, "--cold"}
	s.Nodes = append(s.Nodes, n)
	return n.Start(ctx)
}

// Start starts the node's strata-node, for the first time or again after Kill.
func (n *Node) Start(ctx context.Context) error {
	p, err := n.stack.launch("strata-node", n.Name, n.args...)
	if err != nil {
		return err
	}
	conn, err := connect(ctx, p, filepath.Join(n.dir, socketName))
	if err != nil {
		return err
	}
	n.NodeClient, n.program = csi.NewNodeClient(conn), p
	return nil
}

// Kill ends the node's strata-node with SIGKILL.
func (n *Node) Kill() { n.program.end(os.Kill) }

// Access modes of the demo's volumes.
const (
	Shared   = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	ReadOnly = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
)

// Capability is a mount with the given access mode.
func Capability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}}}
}

// Request asks for a volume of a team on the erasure-coded pool, from a snapshot when one is named.
func Request(name, team string, size int64, mode csi.VolumeCapability_AccessMode_Mode, snapshot string) *csi.CreateVolumeRequest {
	req := &csi.CreateVolumeRequest{Name: name, VolumeCapabilities: []*csi.VolumeCapability{Capability(mode)},
		CapacityRange: &csi.CapacityRange{RequiredBytes: size},
		Parameters:    map[string]string{"tier": "warm", "fsName": "warm", "pool": "warm-ec", "team": team}}
	if snapshot != "" {
		req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snapshot}}}
	}
	return req
}

// Target is where a pod would see a volume.
func (n *Node) Target(name string) string { return filepath.Join(n.dir, "pods", name) }

func (n *Node) staging(name string) string { return filepath.Join(n.dir, "staging", name) }

// Mount does what kubelet does when a pod with the volume starts.
func (n *Node) Mount(ctx context.Context, v *csi.Volume, name string, mode csi.VolumeCapability_AccessMode_Mode) error {
	for _, dir := range []string{n.staging(name), filepath.Dir(n.Target(name))} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	if _, err := n.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: n.staging(name),
		VolumeCapability: Capability(mode), VolumeContext: v.GetVolumeContext(), Secrets: n.stack.secrets}); err != nil {
		return err
	}
	_, err := n.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: n.staging(name),
		TargetPath: n.Target(name), VolumeCapability: Capability(mode), VolumeContext: v.GetVolumeContext()})
	return err
}

// Unmount does what kubelet does when the last pod stops.
func (n *Node) Unmount(ctx context.Context, v *csi.Volume, name string) error {
	if _, err := n.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.GetVolumeId(), TargetPath: n.Target(name)}); err != nil {
		return err
	}
	_, err := n.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: n.staging(name)})
	return err
}
