package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

// Prefix is the namePrefix of a test's controller: every test has its own, so that it can list what it left over.
type Prefix string

// NewPrefix makes one from the test's name and the time.
func NewPrefix(t testing.TB) Prefix {
	p := fmt.Sprintf("t%x", time.Now().UnixNano()/1000%(1<<40))
	return Prefix(p)
}

// ControllerOptions vary a controller.
type ControllerOptions struct {
	Prefix    Prefix            // of its names; a new one when empty
	User      string            // Ceph user; when empty one with what docs/security.md says the controller needs, and no more
	Defaults  map[string]string // StorageClass defaults in its cluster configuration
	Monitor   string            // instead of the cluster's
	Lease     time.Duration     // 6 s when zero, through which a machine under load gets
	CopyWait  time.Duration     // 60 s when zero
	Failpoint string            // where it kills itself
	Fencing   bool              // its cluster configuration names a user for fencing
	Kube      *KubeAPI          // where it keeps the keys of volumes; nowhere when nil
}

// Controller is a running strata-controller.
type Controller struct {
	csi.ControllerClient
	Identity csi.IdentityClient
	Ceph     *Ceph
	Prefix   Prefix
	Socket   string
	// ConfigPath is its cluster configuration; it reads it again when it changes.
	ConfigPath string

	t       testing.TB
	o       ControllerOptions
	log     *logBuffer
	process *process
	conn    *grpc.ClientConn
}

// NewController starts a controller and waits until it is ready.
func NewController(t testing.TB, ceph *Ceph, o ControllerOptions) *Controller {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = NewPrefix(t)
	}
	if o.User == "" {
		o.User = ceph.ControllerUser(t, o.Prefix)
	}
	if o.Lease == 0 {
		o.Lease = 6 * time.Second
	}
	if o.CopyWait == 0 {
		o.CopyWait = time.Minute
	}
	if o.Monitor == "" {
		o.Monitor = ceph.Monitor
	}
	dir := shortDir(t)
	c := &Controller{Ceph: ceph, Prefix: o.Prefix, Socket: filepath.Join(dir, "c.sock"),
		ConfigPath: filepath.Join(dir, "clusters.yaml"), t: t, o: o, log: &logBuffer{}}
	lines := []string{fmt.Sprintf("controller: {user: %s, keyringFile: %s}", o.User, ceph.Keyring(o.User))}
	if o.Fencing {
		user := ceph.FencingUser(t)
		lines = append(lines, fmt.Sprintf("fencing: {user: %s, keyringFile: %s}", user, ceph.Keyring(user)))
	}
	c.WriteConfig(lines...)
	showLog(t, "strata-controller", c.log)
	t.Cleanup(func() {
		if c.process == nil || c.process.exited() {
			return
		}
		// Properly: the metadata server would wait a minute for what a killed one holds before it lets the next have it.
		if err := c.process.stop(time.Minute); err != nil {
			t.Error(err)
		}
	})
	c.Start(o.Failpoint)
	return c
}

// ClusterID is the id of the development cluster in every configuration that the harness writes.
const ClusterID = "dev"

// WriteConfig writes the cluster configuration with more lines of the cluster's entry.
func (c *Controller) WriteConfig(lines ...string) {
	c.t.Helper()
	writeConfig(c.t, c.ConfigPath, c.o.Monitor, append([]string{"namePrefix: " + string(c.Prefix), "defaults: " + flow(c.o.Defaults)}, lines...)...)
}

func writeConfig(t testing.TB, path, monitor string, lines ...string) {
	t.Helper()
	text := fmt.Sprintf("clusters:\n- clusterID: %s\n  monitors: [%q]\n", ClusterID, monitor)
	for _, l := range lines {
		text += "  " + l + "\n"
	}
	// A rename, so that no reader sees half of it.
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func flow(m map[string]string) string {
	var fields []string
	for k, v := range m {
		fields = append(fields, fmt.Sprintf("%s: %q", k, v))
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// Start starts the controller again after Kill, with another failpoint or none.
func (c *Controller) Start(failpoint string) {
	c.t.Helper()
	args := []string{"--endpoint", "unix://" + c.Socket, "--cluster-config", c.ConfigPath, "--v", "5",
		"--lock-lease", c.o.Lease.String(), "--copy-wait", c.o.CopyWait.String()}
	if c.o.Kube != nil {
		args = append(args, "--kubeconfig", c.o.Kube.Kubeconfig, "--namespace", c.o.Kube.Namespace)
	}
	c.process = launch(c.t, c.log, []string{"STRATA_FAILPOINT=" + failpoint}, "strata-controller", args...)
	c.conn = dial(c.t, c.process, c.Socket)
	c.ControllerClient = csi.NewControllerClient(c.conn)
	c.Identity = csi.NewIdentityClient(c.conn)
}

// Kill ends the controller with SIGKILL.
func (c *Controller) Kill() {
	c.process.kill()
	_ = c.conn.Close()
}

// Crash ends the controller with SIGABRT: it says what all its goroutines do.
func (c *Controller) Crash() {
	c.process.crash()
	_ = c.conn.Close()
}

// WaitKilled waits until a failpoint has killed the controller.
func (c *Controller) WaitKilled(limit time.Duration) {
	c.t.Helper()
	waitKilled(c.t, c.process, c.conn, limit)
}

func waitKilled(t testing.TB, p *process, conn *grpc.ClientConn, limit time.Duration) {
	t.Helper()
	select {
	case <-p.done:
		_ = conn.Close()
	case <-time.After(limit):
		t.Fatalf("failpoint not reached within %s", limit)
	}
}

// User is the Ceph user that it works as.
func (c *Controller) User() string { return c.o.User }

// PID is the controller's process id.
func (c *Controller) PID() int { return c.process.cmd.Process.Pid }

// Log is what it has written so far.
func (c *Controller) Log() string { return c.log.String() }

// Parameters are those of a StorageClass on the erasure-coded pool, with more on top.
func Parameters(more ...string) map[string]string {
	p := map[string]string{"tier": "warm", "fsName": FS, "pool": ECPool}
	for i := 0; i+1 < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	return p
}

// Capabilities are what most volumes are asked for with.
func Capabilities(mode csi.VolumeCapability_AccessMode_Mode) []*csi.VolumeCapability {
	return []*csi.VolumeCapability{Capability(mode)}
}

// Capability is a mount with the given access mode.
func Capability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
	}
}

// RWX is the access mode of a shared drive.
const RWX = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER

// Request asks for an RWX volume of size bytes.
func Request(name string, size int64, more ...string) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: size},
		VolumeCapabilities: Capabilities(RWX), Parameters: Parameters(more...)}
}

// SetDefaults changes the StorageClass defaults that WriteConfig writes.
func (c *Controller) SetDefaults(d map[string]string) { c.o.Defaults = d }
