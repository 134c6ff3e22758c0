package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// ScratchNode is a strata-node that serves tier scratch alone, on disks of its own: file systems in files, each behind a loop device. It
// needs no Ceph.
type ScratchNode struct {
	csi.NodeClient
	Identity csi.IdentityClient
	ID       string
	Dir      string // of its state, its sockets and kubelet's directory
	Socket   string
	Disks    []string // where the disks are mounted

	t       testing.TB
	options ScratchOptions
	// atStart is how often each failpoint is passed before the node is ready: it tries its disks.
	atStart map[string]int
	died    bool // the next start finds an interrupted request, and may write: it says nothing of others
	log     *logBuffer
	process *process
	conn    *grpc.ClientConn
}

// ScratchOptions are what a test may ask for.
type ScratchOptions struct {
	Kind     string // loop or btrfs
	DiskSize int64  // bytes of each disk; 0: 2 GiB
	Disks    int    // 0: one
	// Config is added to the configuration, lines of YAML; see config.
	Config string
	// ReapEvery is how often the reaper looks; 0: never within a test.
	ReapEvery time.Duration
	// BootID makes the node believe in another boot of the machine; "": the real one.
	BootID string
}

// NewScratchNode makes the disks, starts the node and waits until it is ready. With the test everything is taken away.
func NewScratchNode(t testing.TB, o ScratchOptions) *ScratchNode {
	t.Helper()
	if o.DiskSize == 0 {
		o.DiskSize = 2 << 30
	}
	dir := shortDir(t)
	n := &ScratchNode{ID: "node-" + filepath.Base(dir), Dir: dir, Socket: filepath.Join(dir, "n.sock"), t: t, options: o, log: &logBuffer{}}
	t.Cleanup(func() { n.clean() })
	showLog(t, "strata-node", n.log)
	for i := range max(o.Disks, 1) {
		n.Disks = append(n.Disks, n.makeDisk(i))
	}
	if err := os.MkdirAll(filepath.Join(n.KubeletDir(), "pods", "uid-of-the-driver"), 0o750); err != nil {
		t.Fatal(err)
	}
	n.WriteConfig(o.Config)
	n.Start("")
	return n
}

// makeDisk makes a file system in a file and mounts it.
func (n *ScratchNode) makeDisk(i int) string {
	n.t.Helper()
	image := filepath.Join(n.Dir, fmt.Sprintf("disk%d.img", i))
	path := filepath.Join(n.Dir, fmt.Sprintf("disk%d", i))
	n.must(os.Mkdir(path, 0o750))
	n.must(os.WriteFile(image, nil, 0o600))
	n.must(os.Truncate(image, n.options.DiskSize))
	mkfs := []string{"mkfs.ext4", "-q", "-m0", "-E", "lazy_itable_init=1", image}
	fsType := "ext4"
	if n.options.Kind == "btrfs" {
		mkfs, fsType = []string{"mkfs.btrfs", "-q", image}, "btrfs"
	}
	if out, err := exec.Command(mkfs[0], mkfs[1:]...).CombinedOutput(); err != nil {
		n.t.Fatalf("%v: %v\n%s", mkfs, err, out)
	}
	// The loop device goes with its mount.
	if out, err := exec.Command("mount", "-t", fsType, "-o", "loop", image, path).CombinedOutput(); err != nil {
		n.t.Fatalf("mount %s: %v\n%s", image, err, out)
	}
	return path
}

func (n *ScratchNode) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *ScratchNode) config() string { return filepath.Join(n.Dir, "scratch.yaml") }

func (n *ScratchNode) trace() string { return filepath.Join(n.Dir, "trace") }

// Passed returns the failpoints that were passed since the node was ready, or since the last call, each once, in the order of the first time.
func (n *ScratchNode) Passed() []string {
	n.t.Helper()
	var names []string
	for _, name := range n.passed() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	n.forget()
	return names
}

func (n *ScratchNode) passed() []string {
	n.t.Helper()
	text, err := os.ReadFile(n.trace())
	n.must(err)
	return strings.Fields(string(text))
}

func (n *ScratchNode) forget() { n.must(os.WriteFile(n.trace(), nil, 0o600)) }

// KubeletDir is the kubelet directory of the node, StateDir that of its journal, ReportDir that of its reports.
func (n *ScratchNode) KubeletDir() string { return filepath.Join(n.Dir, "kubelet") }
func (n *ScratchNode) StateDir() string   { return filepath.Join(n.Dir, "state") }
func (n *ScratchNode) ReportDir() string  { return filepath.Join(n.Dir, "reports") }

// WriteConfig writes the node's configuration: one pool "disks" of all its disks, the classes "default" (64 MiB, at most 1 GiB) and
// "grows", whose volumes can be grown wherever the tests run and have 300 MiB at least, and more, such as "maxPerPod: 100Mi\n".
func (n *ScratchNode) WriteConfig(more string) { n.write(n.options.Kind, more) }

// WriteKinds writes the configuration with another kind than that of the disks.
func (n *ScratchNode) WriteKinds(kind string) { n.write(kind, "") }

func (n *ScratchNode) write(kind, more string) {
	n.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "pools:\n- name: disks\n  reserve: 0%%\n  kinds: [%s]\n  disks:\n", kind)
	for _, d := range n.Disks {
		fmt.Fprintf(&b, "  - path: %s\n", d)
	}
	b.WriteString("classes:\n- name: default\n  pool: disks\n  defaultSize: 64Mi\n  maxSize: 1Gi\n- name: grows\n  pool: disks\n")
	if n.options.Kind == "loop" {
		b.WriteString("  fsType: xfs\n") // growing ext4 takes CAP_SYS_RESOURCE, which the machine of a test may lack
	}
	b.WriteString(more)
	n.must(os.WriteFile(n.config(), []byte(b.String()), 0o600))
}

// Args are the arguments of the node's program, without the socket.
func (n *ScratchNode) Args() []string {
	every := n.options.ReapEvery
	if every == 0 {
		every = 24 * time.Hour
	}
	return []string{"--node-id", n.ID, "--cluster-config", "", "--mountd-socket", "", "--scratch-config", n.config(),
		"--state-dir", n.StateDir(), "--kubelet-dir", n.KubeletDir(), "--scratch-report-dir", n.ReportDir(),
		"--scratch-reap-every", every.String(), "--v", "5"}
}

// Start starts strata-node, again after Kill, with a failpoint or none. The failpoint is one of a call: what passes it before the node is ready
// doesn't count.
func (n *ScratchNode) Start(failpoint string) {
	n.t.Helper()
	n.forget()
	if failpoint != "" {
		failpoint = fmt.Sprintf("%s=%d", failpoint, n.atStart[failpoint]+1)
	}
	n.launch(failpoint)
	n.conn = dial(n.t, n.process, n.Socket)
	n.NodeClient, n.Identity = csi.NewNodeClient(n.conn), csi.NewIdentityClient(n.conn)
	if !n.died {
		n.atStart = map[string]int{}
		for _, name := range n.passed() {
			n.atStart[name]++
		}
	}
	n.died = false
	n.forget()
}

// StartUntil starts strata-node and waits until it has died at a failpoint that it passes before it is ready.
func (n *ScratchNode) StartUntil(failpoint string) {
	n.t.Helper()
	n.launch(failpoint)
	n.Died()
}

// AtStart are the failpoints that the node passes before it is ready.
func (n *ScratchNode) AtStart() []string { return slices.Sorted(maps.Keys(n.atStart)) }

func (n *ScratchNode) launch(failpoint string) {
	n.t.Helper()
	env := []string{"STRATA_FAILPOINT=" + failpoint, "STRATA_FAILPOINT_TRACE=" + n.trace()}
	if n.options.BootID != "" {
		env = append(env, "STRATA_BOOT_ID="+n.options.BootID)
	}
	n.process = launch(n.t, n.log, env, "strata-node", append([]string{"--endpoint", "unix://" + n.Socket}, n.Args()...)...)
}

// Second starts another strata-node on the same state directory and returns what it wrote, and how it ended.
func (n *ScratchNode) Second() (string, error) {
	n.t.Helper()
	log := &logBuffer{}
	p := launch(n.t, log, nil, "strata-node", append([]string{"--endpoint", "unix://" + n.Socket + "2"}, n.Args()...)...)
	select {
	case <-p.done:
		return log.String(), p.err
	case <-time.After(Patience):
		p.kill()
		n.t.Fatalf("a second strata-node runs on the same state directory\n%s", log)
		return "", nil
	}
}

// Probe runs strata-node --probe and returns what it printed.
func (n *ScratchNode) Probe(t testing.TB) (string, error) {
	out, err := exec.Command(program(t, "strata-node"), "--scratch-config", n.config(), "--probe").CombinedOutput()
	return string(out), err
}

// Kill ends strata-node with SIGKILL.
func (n *ScratchNode) Kill() {
	n.process.kill()
	_ = n.conn.Close()
}

// Died waits until strata-node has ended by itself, at its failpoint.
func (n *ScratchNode) Died() {
	n.t.Helper()
	select {
	case <-n.process.done:
	case <-time.After(Patience):
		n.t.Fatal("strata-node did not die at its failpoint")
	}
	n.died = true
	if n.conn != nil {
		_ = n.conn.Close()
	}
}

// Log is what strata-node has written so far.
func (n *ScratchNode) Log() string { return n.log.String() }

// InlineID is the id that kubelet gives the inline volume of a pod.
func InlineID(podUID, volume string) string {
	sum := sha256.Sum256([]byte(podUID + volume))
	return "csi-" + hex.EncodeToString(sum[:])
}

// Target is where kubelet wants the volume of a pod.
func (n *ScratchNode) Target(podUID, volume string) string {
	return filepath.Join(n.KubeletDir(), "pods", podUID, "volumes", "kubernetes.io~csi", volume, "mount")
}

// Staging is where kubelet wants a persistent volume of the node.
func (n *ScratchNode) Staging(name string) string {
	return filepath.Join(n.KubeletDir(), "plugins", "kubernetes.io", "csi", "csi.strata.dev", name, "globalmount")
}

// InlineRequest is what kubelet asks for when a pod has an inline volume. The parent of the target is made, as kubelet does.
func (n *ScratchNode) InlineRequest(podUID, volume string, attributes ...string) *csi.NodePublishVolumeRequest {
	n.t.Helper()
	target := n.Target(podUID, volume)
	n.must(os.MkdirAll(filepath.Dir(target), 0o750))
	context := map[string]string{
		"csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.name": "pod-" + podUID, "csi.storage.k8s.io/pod.namespace": "team",
		"csi.storage.k8s.io/pod.uid": podUID, "csi.storage.k8s.io/serviceAccount.name": "default",
	}
	for i := 0; i < len(attributes); i += 2 {
		context[attributes[i]] = attributes[i+1]
	}
	return &csi.NodePublishVolumeRequest{VolumeId: InlineID(podUID, volume), TargetPath: target, VolumeContext: context,
		VolumeCapability: Capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)}
}

// StageRequest is what kubelet asks for before the first pod with a claim; the staging directory is made.
func (n *ScratchNode) StageRequest(class, name string, size int64) *csi.NodeStageVolumeRequest {
	n.t.Helper()
	n.must(os.MkdirAll(n.Staging(name), 0o750))
	return &csi.NodeStageVolumeRequest{VolumeId: "scratch:" + class + ":" + name, StagingTargetPath: n.Staging(name),
		VolumeContext:    map[string]string{"tier": "scratch", "class": class, "size": strconv.FormatInt(size, 10)},
		VolumeCapability: Capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)}
}

// Unpublish and Unstage do what kubelet does when a pod, or the last pod, is gone.
func (n *ScratchNode) Unpublish(ctx context.Context, id, target string) error {
	_, err := n.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: target})
	return err
}

// Unstage undoes a Stage.
func (n *ScratchNode) Unstage(ctx context.Context, class, name string) error {
	_, err := n.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: "scratch:" + class + ":" + name, StagingTargetPath: n.Staging(name)})
	return err
}

// Left lists everything there is of volumes: mounts below kubelet's directory, files and subvolumes on the disks, loop devices with a file on
// a disk, quota groups, and journal records.
func (n *ScratchNode) Left() []string {
	n.t.Helper()
	var left []string
	for _, m := range n.mountsBelow(n.KubeletDir()) {
		left = append(left, "mount "+m)
	}
	for _, d := range n.Disks {
		_ = filepath.WalkDir(d, func(path string, e os.DirEntry, err error) error {
			name := filepath.Base(path)
			switch {
			case err != nil:
				left = append(left, err.Error())
			case path == d, name == "lost+found", name == ".strata-scratch":
			default:
				left = append(left, "file "+path)
			}
			if name == "lost+found" {
				return filepath.SkipDir
			}
			return nil
		})
		if n.options.Kind == "btrfs" {
			left = append(left, n.quotaGroups(d)...)
		}
	}
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		for _, d := range n.Disks {
			if strings.HasPrefix(string(text), d+"/") {
				left = append(left, "loop device "+strings.TrimSpace(string(text)))
			}
		}
	}
	records, err := os.ReadDir(n.StateDir() + "/scratch")
	n.must(err)
	for _, r := range records {
		if r.Name() != "lock" {
			left = append(left, "record "+r.Name())
		}
	}
	return left
}

// quotaGroups are those of volumes: of level 1, and of level 0 but for the file system's own.
func (n *ScratchNode) quotaGroups(disk string) []string {
	n.t.Helper()
	out, err := exec.Command("btrfs", "qgroup", "show", "--sync", disk).CombinedOutput()
	if err != nil {
		n.t.Fatalf("btrfs qgroup show: %v\n%s", err, out)
	}
	var left []string
	for line := range strings.Lines(string(out)) {
		id := strings.Fields(line + " x")[0]
		if level, _, ok := strings.Cut(id, "/"); ok && id != "0/5" && (level == "0" || level == "1") {
			left = append(left, "quota group "+strings.Join(strings.Fields(line), " "))
		}
	}
	return left
}

func (n *ScratchNode) mountsBelow(dir string) []string {
	table, err := mountpoint.Read()
	n.must(err)
	return table.Below(dir).Paths()
}

// LoseMounts takes every mount of volumes away, as a machine that goes down does.
func (n *ScratchNode) LoseMounts() {
	n.t.Helper()
	mounts := n.mountsBelow(n.KubeletDir())
	for i := len(mounts) - 1; i >= 0; i-- {
		n.must(unix.Unmount(mounts[i], unix.UMOUNT_NOFOLLOW))
	}
}

// Reboot starts the node as after a start of the machine: no mount of a volume is left, and the kernel is another.
func (n *ScratchNode) Reboot(bootID string) {
	n.t.Helper()
	if !n.process.exited() {
		n.Kill()
	}
	n.LoseMounts()
	n.options.BootID = bootID
	n.Start("")
}

func (n *ScratchNode) clean() {
	if n.process != nil && !n.process.exited() {
		n.process.kill()
	}
	table, err := mountpoint.Read()
	if err != nil {
		n.t.Error(err)
		return
	}
	mounts := table.Below(n.Dir).Paths()
	for i := len(mounts) - 1; i >= 0; i-- {
		if err := unix.Unmount(mounts[i], unix.UMOUNT_NOFOLLOW); err != nil {
			n.t.Errorf("unmount %s: %v", mounts[i], err)
		}
	}
}

// NewScratchController starts a strata-controller that serves tier scratch alone and returns its socket.
func NewScratchController(t testing.TB, reportDir string) (socket string) {
	t.Helper()
	dir, log := shortDir(t), &logBuffer{}
	socket = filepath.Join(dir, "c.sock")
	showLog(t, "strata-controller", log)
	p := launch(t, log, nil, "strata-controller", "--endpoint", "unix://"+socket, "--cluster-config", "", "--scratch",
		"--scratch-report-dir", reportDir, "--v", "5")
	t.Cleanup(p.kill)
	conn := dial(t, p, socket)
	t.Cleanup(func() { _ = conn.Close() })
	return socket
}
