package main

// The clients of part cold: Strata, and two that Debian has packages of, each with a mount of the same bucket.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/hack/stack"
)

// coldPackages are the Debian packages of the peers.
var coldPackages = []string{"rclone", "s3fs"}

// coldCache is the size of each client's cache, more than a run puts there, as both Kubernetes and rclone write it.
const coldCache = "12Gi"

// coldClient is a program with a mount of the bucket and a cache directory that outlives the mount.
type coldClient interface {
	mount(ctx context.Context) error
	unmount(ctx context.Context) error
	path() string  // where the bucket is while it is mounted
	cache() string // the directory
	processes() ([]int, error)
}

// strataClient is a volume by hand that is the whole bucket, published as for a pod.
type strataClient struct {
	node   *stack.ColdNode
	volume *csi.Volume
	name   string
}

func (c *strataClient) mount(ctx context.Context) error {
	return c.node.Mount(ctx, c.volume, c.name, stack.Shared)
}

func (c *strataClient) unmount(ctx context.Context) error {
	return c.node.Unmount(ctx, c.volume, c.name)
}

func (c *strataClient) path() string              { return c.node.Target(c.name) }
func (c *strataClient) cache() string             { return c.node.Cache }
func (c *strataClient) processes() ([]int, error) { return c.node.Engines() }

// peer is another program, in the foreground.
type peer struct {
	name      string
	dir, keep string // where the bucket is mounted, and the cache
	log       string
	arguments []string
	env       []string
	cmd       *exec.Cmd
	ended     chan struct{}
}

// newPeer makes the directories of one.
func (b *bench) newPeer(name string) (*peer, error) {
	p := &peer{name: name, dir: filepath.Join(b.Dir, name), keep: filepath.Join(b.ColdDir(), "cache-"+name), log: filepath.Join(b.Dir, name+".log"),
		env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + b.Dir}}
	b.peers = append(b.peers, p)
	return p, errors.Join(os.Mkdir(p.dir, 0o700), os.MkdirAll(p.keep, 0o700))
}

// newRclone prepares rclone. Its key is in its environment, which nobody but root can read.
func (b *bench) newRclone(server *stack.S3) (*peer, error) {
	p, err := b.newPeer("rclone")
	if err != nil {
		return nil, err
	}
	p.arguments = append([]string{"mount", ":s3:" + coldBucket, p.dir, "--config=", "--cache-dir=" + p.keep, "--s3-endpoint=" + server.Endpoint}, rcloneOptions...)
	p.env = append(p.env, "RCLONE_S3_ACCESS_KEY_ID="+server.Key.AccessKeyID, "RCLONE_S3_SECRET_ACCESS_KEY="+server.Key.SecretAccessKey)
	return p, nil
}

// rcloneOptions are what the page tells of rclone's: no metadata of its own in the headers, so that it needn't ask for each object's, and as many requests at once as
// the raw client has.
var rcloneOptions = []string{"--vfs-cache-mode=full", "--vfs-cache-max-size=" + coldCache, "--vfs-write-back=0s", "--vfs-fast-fingerprint", "--use-server-modtime",
	"--transfers=16", "--s3-provider=Other", "--s3-list-version=2", "--s3-no-check-bucket", "--s3-disable-checksum", "--s3-chunk-size=8Mi", "--s3-upload-concurrency=16"}

// newS3fs prepares s3fs-fuse. Its key is in a file of root's.
func (b *bench) newS3fs(server *stack.S3) (*peer, error) {
	p, err := b.newPeer("s3fs")
	if err != nil {
		return nil, err
	}
	key := filepath.Join(b.Dir, "s3fs.key")
	if err := os.WriteFile(key, []byte(server.Key.AccessKeyID+":"+server.Key.SecretAccessKey+"\n"), 0o600); err != nil {
		return nil, err
	}
	p.arguments = []string{coldBucket, p.dir, "-f", "-o", "url=" + server.Endpoint, "-o", "passwd_file=" + key, "-o", "use_cache=" + p.keep}
	for _, o := range s3fsOptions {
		p.arguments = append(p.arguments, "-o", o)
	}
	return p, nil
}

// s3fsOptions are what the page tells of s3fs's.
var s3fsOptions = []string{"use_path_request_style", "parallel_count=16", "multireq_max=16", "multipart_size=10", "max_stat_cache_size=100000"}

func (p *peer) path() string              { return p.dir }
func (p *peer) cache() string             { return p.keep }
func (p *peer) processes() ([]int, error) { return []int{p.cmd.Process.Pid}, nil }

// mount starts the program and waits until its mount is there.
func (p *peer) mount(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	before, err := device(p.dir)
	if err != nil {
		return err
	}
	p.cmd = exec.Command(p.name, p.arguments...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.env, log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL} // ctrl-C is for us, and we unmount
	if err := p.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	p.ended = ended
	go func() {
		_ = p.cmd.Wait()
		close(ended)
	}()
	return awaitMount(ctx, p.dir, before, ended, p.log)
}

// unmount takes the mount away and waits until the program has ended.
func (p *peer) unmount(ctx context.Context) error {
	if err := unmountWhenFree(ctx, p.dir); err != nil {
		return err
	}
	select {
	case <-p.ended:
		p.ended = nil
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// discard ends what an interrupted run has left.
func (p *peer) discard() error {
	if p.ended == nil {
		return nil
	}
	_ = unix.Unmount(p.dir, unix.MNT_DETACH) // there may be none
	for _, signal := range []os.Signal{unix.SIGTERM, unix.SIGKILL} {
		_ = p.cmd.Process.Signal(signal)
		select {
		case <-p.ended:
			return nil
		case <-time.After(5 * time.Second):
		}
	}
	return fmt.Errorf("%s, process %d, doesn't end", p.name, p.cmd.Process.Pid)
}

// unmountWhenFree unmounts as soon as the kernel lets go of what was closed just before.
func unmountWhenFree(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := unix.Unmount(path, 0)
		if !errors.Is(err, unix.EBUSY) {
			return os.NewSyscallError("unmount "+path, err)
		}
		select {
		case <-ctx.Done():
			return os.NewSyscallError("unmount "+path, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// peakMemory is the most that a process has had resident, in bytes, of the text of /proc/PID/status (proc(5)).
func peakMemory(status string) (int64, error) {
	for line := range strings.Lines(status) {
		rest, ok := strings.CutPrefix(line, "VmHWM:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		return kib << 10, err
	}
	return 0, errors.New("it has no VmHWM")
}
