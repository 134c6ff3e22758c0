package stack

// Tier cold without Ceph: a small S3 server of its own, and a node that serves this tier alone.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/s3"
)

// S3 is a running server.
type S3 struct {
	Endpoint string // http://127.0.0.1:PORT
	Key      s3.Credentials
}

// StartS3 starts a server of the program (hack/s3, as pkg/s3/s3test builds it) without a bucket, at the first of the installation's ports. Its files are below the
// directory. From then on volumes are mounted with its access key.
func (s *Stack) StartS3(ctx context.Context, path string) (*S3, error) {
	dir, listen := filepath.Join(s.Dir, "s3"), s.Monitor()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	server := &S3{Endpoint: "http://" + listen, Key: s3.Credentials{AccessKeyID: "BENCH" + rand.Text()[:12], SecretAccessKey: rand.Text()}}
	cmd := exec.Command(path, "-listen", listen, "-dir", dir)
	cmd.Dir = s.Dir
	stdin, err := cmd.StdinPipe() // which ends the server when it is closed: it stays open as long as we are
	if err != nil {
		return nil, err
	}
	p, err := s.start(cmd, "s3")
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(stdin, "%s\n%s\n", server.Key.AccessKeyID, server.Key.SecretAccessKey); err != nil {
		return nil, err
	}
	s.secrets = map[string]string{"accessKeyID": server.Key.AccessKeyID, "secretAccessKey": server.Key.SecretAccessKey}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.Endpoint, nil)
		if err != nil {
			return nil, err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			return server, response.Body.Close()
		}
		select {
		case <-p.done:
			text, _ := os.ReadFile(p.log)
			return nil, fmt.Errorf("the S3 server ended at once:\n%s", text)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Open is a plain client of a bucket of the server.
func (s *S3) Open(bucket string) (*s3.Bucket, error) {
	return s3.Open(s3.Location{Endpoint: s.Endpoint, PathStyle: true, Bucket: bucket}, func() s3.Credentials { return s.Key }, s3.Options{})
}

// ColdNode is a node that serves tier cold alone.
type ColdNode struct {
	*Node
	Cache string // the directory of its engines' cache

	holder *program
}

// StartColdNode starts strata-mountd, without ceph-fuse, and strata-node. The size of the cache is a Kubernetes quantity.
func (s *Stack) StartColdNode(ctx context.Context, name, cacheSize string) (*ColdNode, error) {
	if err := s.prepareCold(); err != nil {
		return nil, err
	}
	n := &ColdNode{Node: &Node{Name: name, stack: s, dir: filepath.Join(s.Dir, name)}, Cache: s.coldCache(name)}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return nil, err
	}
	socket := filepath.Join(n.dir, "m.sock")
	args := append([]string{"--socket", socket, "--state-dir", filepath.Join(n.dir, "state"), "--log-dir", filepath.Join(n.dir, "log"), "--ceph-fuse", ""},
		s.engines(name, cacheSize)...)
	var err error
	if n.holder, err = s.launch("strata-mountd", name+"-mountd", args...); err != nil {
		return nil, err
	}
	n.args = []string{"--endpoint", "unix://" + filepath.Join(n.dir, socketName), "--node-id", name, "--cluster-config", "", "--mountd-socket", socket, "--cold"}
	return n, n.Start(ctx)
}

// Engines are the processes of the engines that the node has now.
func (n *ColdNode) Engines() ([]int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var engines []int
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil { // it has ended meanwhile
			continue
		}
		pid, parent, name, err := parseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if parent == n.holder.cmd.Process.Pid && name == filepath.Base(n.stack.engine()) {
			engines = append(engines, pid)
		}
	}
	return engines, nil
}

// parseStat reads the beginning of /proc/PID/stat (proc(5)): PID (NAME) STATE PARENT. The name may have anything in it.
func parseStat(text string) (pid, parent int, name string, err error) {
	first, last := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if first < 0 || last < first {
		return 0, 0, "", errors.New("no name in brackets")
	}
	var state string
	if _, err := fmt.Sscan(text[:first], &pid); err != nil {
		return 0, 0, "", err
	}
	_, err = fmt.Sscan(text[last+1:], &state, &parent)
	return pid, parent, text[first+1 : last], err
}

// ColdVolume is a volume by hand: a prefix of a bucket of the server. More are further attributes, docs/parameters.md has them.
func (s *S3) ColdVolume(name, bucket string, more map[string]string) *csi.Volume {
	attributes := map[string]string{"endpoint": s.Endpoint, "bucket": bucket}
	for k, v := range more {
		attributes[k] = v
	}
	return &csi.Volume{VolumeId: "cold:" + name, VolumeContext: attributes}
}
