package harness

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// NewColdNode starts a node that serves tier cold alone, with the credentials of an S3 server. It needs no Ceph.
func NewColdNode(t testing.TB, server *s3test.Server, id string) *Node {
	t.Helper()
	dir := shortDir(t)
	// Engines, which are no root, pass it on the way to their cache.
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, id, dir)
	n.Secrets = ColdSecrets(server)
	n.tiers = []string{"--cluster-config", "", "--cold"}
	n.kinds = []string{"--ceph-fuse", "", "--coldfs", engine(t, dir), "--coldfs-cache-dir", filepath.Join(dir, "cache"),
		"--coldfs-cache-size", "512Mi", "--coldfs-cache-reserve", "64Mi"}
	n.begin()
	return n
}

// ColdSecrets are what Secrets of tier cold hold.
func ColdSecrets(server *s3test.Server) map[string]string {
	return map[string]string{"accessKeyID": server.Credentials.AccessKeyID, "secretAccessKey": server.Credentials.SecretAccessKey}
}

// engine puts strata-coldfs where its user can reach it: the checkout may be in somebody's home.
func engine(t testing.TB, dir string) string {
	t.Helper()
	from, err := os.Open(program(t, "strata-coldfs"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "strata-coldfs")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// ColdController is a strata-controller that serves tier cold alone.
type ColdController struct {
	csi.ControllerClient
	Socket string
	// Secrets are those of the S3 server that it was made for.
	Secrets map[string]string
	// Parameters are those of a StorageClass on a bucket of that server.
	Parameters map[string]string

	t       testing.TB
	kube    []string // arguments
	log     *logBuffer
	process *process
	conn    *grpc.ClientConn
}

// NewColdController starts a controller. Its class has its volumes in the bucket, which must exist.
func NewColdController(t testing.TB, server *s3test.Server, bucket string) *ColdController {
	t.Helper()
	return NewColdControllerUntil(t, server, bucket, "")
}

// NewColdControllerUntil starts a controller that kills itself at a failpoint.
func NewColdControllerUntil(t testing.TB, server *s3test.Server, bucket, failpoint string) *ColdController {
	t.Helper()
	return newColdController(t, server, bucket, failpoint)
}

// NewColdControllerInKubernetes starts a controller that keeps the credentials of volumes which have their own in a Kubernetes API. It kills itself at the failpoint, if one is named.
func NewColdControllerInKubernetes(t testing.TB, server *s3test.Server, bucket, failpoint string, kube *KubeAPI) *ColdController {
	t.Helper()
	return newColdController(t, server, bucket, failpoint, "--kubeconfig", kube.Kubeconfig, "--namespace", kube.Namespace)
}

func newColdController(t testing.TB, server *s3test.Server, bucket, failpoint string, kube ...string) *ColdController {
	t.Helper()
	c := &ColdController{
		Socket: filepath.Join(shortDir(t), "c.sock"), Secrets: ColdSecrets(server), t: t, kube: kube, log: &logBuffer{},
		Parameters: map[string]string{"tier": "cold", "endpoint": server.Endpoint, "bucket": bucket, "team": "vision"},
	}
	showLog(t, "strata-controller", c.log)
	t.Cleanup(func() {
		if c.process.exited() {
			return
		}
		if err := c.process.stop(time.Minute); err != nil {
			t.Error(err)
		}
	})
	c.Start(failpoint)
	return c
}

// Start starts the controller, again after its death, with a failpoint or none.
func (c *ColdController) Start(failpoint string) {
	c.t.Helper()
	c.process = launch(c.t, c.log, []string{"STRATA_FAILPOINT=" + failpoint}, "strata-controller",
		append([]string{"--endpoint", "unix://" + c.Socket, "--cluster-config", "", "--cold", "--v", "5"}, c.kube...)...)
	c.conn = dial(c.t, c.process, c.Socket)
	c.ControllerClient = csi.NewControllerClient(c.conn)
}

// WaitKilled waits until a failpoint has killed the controller.
func (c *ColdController) WaitKilled(limit time.Duration) {
	c.t.Helper()
	waitKilled(c.t, c.process, c.conn, limit)
}

// PID is the controller's process id, Log what it has written so far.
func (c *ColdController) PID() int    { return c.process.cmd.Process.Pid }
func (c *ColdController) Log() string { return c.log.String() }

// Request asks for an RWX volume of size bytes; more are parameters, name and value by turns.
func (c *ColdController) Request(name string, size int64, more ...string) *csi.CreateVolumeRequest {
	p := map[string]string{}
	for k, v := range c.Parameters {
		p[k] = v
	}
	for i := 0; i+1 < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	return &csi.CreateVolumeRequest{Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: size},
		VolumeCapabilities: Capabilities(RWX), Parameters: p, Secrets: c.Secrets}
}

// EngineLogs are what the engines of a node have written so far.
func (n *Node) EngineLogs() string {
	n.t.Helper()
	files, err := filepath.Glob(filepath.Join(n.Dir, "log", "*.log*"))
	if err != nil {
		n.t.Fatal(err)
	}
	var all string
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil && !os.IsNotExist(err) {
			n.t.Fatal(err)
		}
		all += fmt.Sprintf("%s:\n%s", f, raw)
	}
	return all
}
