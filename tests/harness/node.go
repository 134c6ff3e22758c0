package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/mountpoint"
)

// Node is one node of a cluster: a strata-mountd, a strata-node, and the directories that kubelet would have. Several on one machine
// share its mount table.
type Node struct {
	csi.NodeClient
	Identity csi.IdentityClient
	Ceph     *Ceph
	ID       string
	Dir      string // where its staging and target paths are
	Socket   string
	// Secrets are what a volume is staged and published with: those of client.strata-node, or of the S3 server of a cold node.
	Secrets map[string]string
	// Mountd asks the node's holder.
	Mountd mountd.Client

	t         testing.TB
	machine   *Machine
	tiers     []string // arguments of strata-node that say which tiers it serves
	kinds     []string // and of strata-mountd
	log       *logBuffer
	mountdLog *logBuffer
	process   *process
	mountd    *process
	conn      *grpc.ClientConn
}

// NewNode starts a node and waits until it is ready. With the test, it is stopped and everything it mounted is taken away.
func NewNode(t testing.TB, ceph *Ceph, id string) *Node {
	t.Helper()
	return NewNodeOn(t, ceph, nil, id)
}

// NewNodeOn is NewNode on a machine of its own.
func NewNodeOn(t testing.TB, ceph *Ceph, m *Machine, id string) *Node {
	t.Helper()
	dir := shortDir(t)
	n := newNode(t, id, dir)
	n.machine = m
	n.Ceph, n.Secrets = ceph, map[string]string{"userID": "strata-node", "userKey": ceph.Key(t, "strata-node")}
	n.tiers = []string{"--cluster-config", n.config()}
	writeConfig(t, n.config(), ceph.Monitor)
	n.begin()
	return n
}

func newNode(t testing.TB, id, dir string) *Node {
	return &Node{ID: id, Dir: dir, Socket: filepath.Join(dir, "n.sock"), t: t, log: &logBuffer{}, mountdLog: &logBuffer{},
		Mountd: mountd.Client{Socket: filepath.Join(dir, "m.sock")}}
}

// begin starts the node's programs.
func (n *Node) begin() {
	n.t.Helper()
	showLog(n.t, "strata-node "+n.ID, n.log)
	showLog(n.t, "strata-mountd "+n.ID, n.mountdLog)
	n.t.Cleanup(n.clean)
	n.StartMountd()
	n.Start("")
}

func (n *Node) config() string { return filepath.Join(n.Dir, "clusters.yaml") }

// Start starts strata-node again after Kill or Crash, with a failpoint or none.
func (n *Node) Start(failpoint string) {
	n.t.Helper()
	n.process = launchOn(n.t, n.machine, n.log, []string{"STRATA_FAILPOINT=" + failpoint}, "strata-node", append([]string{"--endpoint", "unix://" + n.Socket,
		"--node-id", n.ID, "--mountd-socket", n.Mountd.Socket, "--v", "5"}, n.tiers...)...)
	n.conn = dial(n.t, n.process, n.Socket)
	n.NodeClient, n.Identity = csi.NewNodeClient(n.conn), csi.NewIdentityClient(n.conn)
}

// Kill ends strata-node with SIGKILL.
func (n *Node) Kill() {
	n.process.kill()
	_ = n.conn.Close()
}

// Crash ends strata-node and the holder with SIGABRT: they say what all their goroutines do.
func (n *Node) Crash() {
	n.process.crash()
	_ = n.conn.Close()
	n.mountd.crash()
}

// StartMountd starts the holder again after KillMountd or Crash.
func (n *Node) StartMountd() {
	n.t.Helper()
	n.mountd = launchOn(n.t, n.machine, n.mountdLog, nil, "strata-mountd", append([]string{"--socket", n.Mountd.Socket, "--state-dir", filepath.Join(n.Dir, "state"),
		"--log-dir", filepath.Join(n.Dir, "log"), "--v", "5"}, n.kinds...)...)
	Eventually(n.t, "strata-mountd ready", Patience, func() error {
		if n.mountd.exited() {
			n.t.Fatalf("strata-mountd ended: %v\n%s", n.mountd.err, n.mountdLog)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		return n.Mountd.Ping(ctx)
	})
}

// KillMountd ends the holder with SIGKILL.
func (n *Node) KillMountd() { n.mountd.kill() }

// PIDs are the processes of strata-node and strata-mountd.
func (n *Node) PIDs() []int { return []int{n.process.cmd.Process.Pid, n.mountd.cmd.Process.Pid} }

// Log is what strata-node and strata-mountd have written so far.
func (n *Node) Log() string { return n.log.String() + n.mountdLog.String() }

// Staging and Target are the paths of a volume by a name of the test's own.
func (n *Node) Staging(name string) string { return filepath.Join(n.Dir, "staging", name) }
func (n *Node) Target(name string) string  { return filepath.Join(n.Dir, "pods", name) }

// Stage does what kubelet does before the first pod with the volume.
func (n *Node) Stage(ctx context.Context, v *csi.Volume, name string, mode csi.VolumeCapability_AccessMode_Mode) error {
	// A dead mount can't be told from a file.
	if err := os.MkdirAll(n.Staging(name), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	_, err := n.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: n.Staging(name),
		VolumeCapability: Capability(mode), VolumeContext: v.GetVolumeContext(), Secrets: n.Secrets})
	return err
}

// Publish does what kubelet does for a pod; pod names its target path.
func (n *Node) Publish(ctx context.Context, v *csi.Volume, name, pod string, mode csi.VolumeCapability_AccessMode_Mode, readOnly bool) error {
	if err := os.MkdirAll(filepath.Dir(n.Target(pod)), 0o750); err != nil {
		return err
	}
	_, err := n.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: n.Staging(name),
		TargetPath: n.Target(pod), VolumeCapability: Capability(mode), VolumeContext: v.GetVolumeContext(), Secrets: n.Secrets,
		Readonly: readOnly})
	return err
}

// Mount stages and publishes a volume for one pod of the same name, and returns where the pod sees it.
func (n *Node) Mount(v *csi.Volume, name string, mode csi.VolumeCapability_AccessMode_Mode) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := n.Stage(ctx, v, name, mode); err != nil {
		n.t.Fatalf("%s: stage: %v", n.ID, err)
	}
	if err := n.Publish(ctx, v, name, name, mode, false); err != nil {
		n.t.Fatalf("%s: publish: %v", n.ID, err)
	}
	return n.Target(name)
}

// Unmount undoes Mount.
func (n *Node) Unmount(v *csi.Volume, name string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if _, err := n.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.GetVolumeId(), TargetPath: n.Target(name)}); err != nil {
		n.t.Fatalf("%s: unpublish: %v", n.ID, err)
	}
	if _, err := n.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: n.Staging(name)}); err != nil {
		n.t.Fatalf("%s: unstage: %v", n.ID, err)
	}
}

// Mounts are the paths below the node's directory where something is mounted.
func (n *Node) Mounts() []string {
	n.t.Helper()
	table, err := mountpoint.Read()
	if err != nil {
		n.t.Fatal(err)
	}
	return table.Below(n.Dir).Paths()
}

// Clients are the processes of ceph-fuse, and the engines, that the holder knows, by staging path.
func (n *Node) Clients() map[string]mountd.Status {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all, err := n.Mountd.List(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	out := map[string]mountd.Status{}
	for _, s := range all {
		out[s.Spec.Mountpoint] = s
	}
	return out
}

// clean takes away what the node mounted and ends its processes, those of ceph-fuse too: they end when nothing is mounted any more.
func (n *Node) clean() {
	var clients []int
	if n.mountd != nil && !n.mountd.exited() {
		for _, s := range n.Clients() {
			clients = append(clients, s.PID)
		}
	}
	for _, p := range []*process{n.process, n.mountd} {
		if p != nil && !p.exited() {
			p.kill()
		}
	}
	for _, path := range slices.Backward(n.Mounts()) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			n.t.Errorf("unmount %s: %v", path, err)
		}
	}
	for _, pid := range clients {
		if err := waitGone(pid, time.Minute); err != nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			if err := waitGone(pid, 10*time.Second); err != nil {
				n.t.Error(err)
			}
		}
	}
}

func waitGone(pid int, limit time.Duration) error {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return nil
		}
	}
	return fmt.Errorf("process %d is still there after %s", pid, limit)
}
