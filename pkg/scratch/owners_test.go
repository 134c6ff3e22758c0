package scratch

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/volume"
)

// cluster is a Cluster that a test commands.
type cluster struct {
	pods
	silent  error // kubelet's
	handles map[string]bool
	asked   int // for handles
}

func (c *cluster) KubeletReports(context.Context) error { return c.silent }

func (c *cluster) Handles(context.Context) (map[string]bool, error) {
	c.asked++
	return c.handles, c.err
}

// container is a process with a mount namespace of its own, in which a volume is mounted at /mnt as in a container: kubelet's own
// mounts aren't in it. Its stdin ends it.
func container(t *testing.T, path string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c",
		`mount --bind "$0" /mnt && umount "$0" && echo ready && read -r _`, path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal("the container doesn't start: ", err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			_ = in.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	return cmd.Process.Pid, end
}

// procOf is a /proc of these processes alone: that of the machine may have some that the test can't look at.
func procOf(t *testing.T, pids ...int) string {
	t.Helper()
	dir := t.TempDir()
	for _, pid := range pids {
		if err := os.Symlink(filepath.Join("/proc", strconv.Itoa(pid)), filepath.Join(dir, strconv.Itoa(pid))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// kubeletSpec is an inline volume at a target below kubelet's directory of its pod.
func (n *node) kubeletSpec(uid string) (path string) {
	n.t.Helper()
	s := n.inlineSpec(uid, "tmp", "size", "64Mi")
	s.Path = n.path(filepath.Join(uid, "volumes/kubernetes.io~csi/tmp/mount"))
	n.must(n.PublishInline(n.t.Context(), s))
	return s.Path
}

func TestWhoseVolumeIsDestroyed(t *testing.T) {
	for _, c := range []struct {
		name      string
		dir, api  bool // kubelet has a directory of the pod, the API has the pod
		container bool // has the volume
		blind     bool // the node's processes can't be seen
		silent    error
		down      error // the API
		destroyed bool
	}{
		{name: "both have the pod", dir: true, api: true},
		{name: "both have the pod, which has ended", dir: true, api: true, container: false},
		{name: "only the API has the pod", api: true},
		{name: "neither has the pod", destroyed: true},
		{name: "neither has the pod, and the API is down", down: errors.New("connection refused")},
		{name: "kubelet has the directory, a container runs", dir: true, container: true},
		{name: "kubelet has the directory, and nothing runs", dir: true, destroyed: true},
		{name: "kubelet has the directory, and doesn't report", dir: true, silent: errors.New("NodeStatusUnknown")},
		{name: "kubelet has the directory, and who runs can't be seen", dir: true, blind: true},
		{name: "kubelet has the directory, and the API is down", dir: true, down: errors.New("connection refused")},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			path := n.kubeletSpec("uid-1")
			dirs := &pods{live: map[string]bool{"driver": true, "uid-1": c.dir}}
			api := &cluster{pods: pods{live: map[string]bool{"driver": true, "uid-1": c.api}, err: c.down}, silent: c.silent}
			r := NewReaper(n.Backend, dirs, time.Minute)
			r.Ask(api, func() bool { return !c.blind })
			r.proc = procOf(t, os.Getpid())
			if c.container {
				pid, end := container(t, path)
				defer end()
				r.proc = procOf(t, os.Getpid(), pid)
			}
			clock := time.Now()
			r.now = func() time.Time { return clock }
			for range 3 {
				if err := r.Reap(t.Context()); !errors.Is(err, c.down) {
					t.Fatal(err)
				}
				clock = clock.Add(time.Minute)
			}
			if got := n.volumes() == 0; got != c.destroyed {
				t.Fatalf("destroyed: %t", got)
			}
			if c.destroyed {
				n.clean()
				if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the target is left: %v", err)
				}
			}
		})
	}
}

// TestTheEndOfAContainer destroys nothing while it runs, and starts to wait when it has ended.
func TestTheEndOfAContainer(t *testing.T) {
	n := newNode(t)
	path := n.kubeletSpec("uid-1")
	r := NewReaper(n.Backend, &pods{live: map[string]bool{"driver": true, "uid-1": true}}, time.Minute)
	r.Ask(&cluster{pods: pods{live: map[string]bool{"driver": true}}}, func() bool { return true })
	pid, end := container(t, path)
	r.proc = procOf(t, os.Getpid(), pid)
	clock := time.Now()
	r.now = func() time.Time { return clock }
	look := func(after time.Duration, left int) {
		t.Helper()
		clock = clock.Add(after)
		n.must(r.Reap(t.Context()))
		if n.volumes() != left {
			t.Fatalf("%d volumes are left", n.volumes())
		}
	}
	look(0, 1)
	look(time.Hour, 1)
	end()
	look(time.Hour, 1)
	look(50*time.Second, 1)
	look(20*time.Second, 0)
	n.clean()
}

// TestAnotherPodOfTheSameName: the new pod of a StatefulSet has the old one's name, and volumes of its own.
func TestAnotherPodOfTheSameName(t *testing.T) {
	n := newNode(t)
	n.kubeletSpec("uid-1")
	after := n.kubeletSpec("uid-2")
	r := NewReaper(n.Backend, &pods{live: map[string]bool{"driver": true, "uid-2": true}}, 0)
	r.Ask(&cluster{pods: pods{live: map[string]bool{"uid-2": true}}}, func() bool { return true })
	n.must(r.Reap(t.Context()))
	n.must(r.Reap(t.Context()))
	all := n.records()
	if len(all) != 1 || all[0].Path != after {
		t.Errorf("left are %v", all)
	}
}

// TestWhatKubeletLeftOfASubPath: kubelet binds a directory of the volume besides its target.
func TestWhatKubeletLeftOfASubPath(t *testing.T) {
	n := newNode(t)
	path := n.kubeletSpec("uid-1")
	sub := n.path("uid-1/volume-subpaths/tmp/c/0")
	n.must(os.Mkdir(filepath.Join(path, "sub"), 0o777))
	n.must(unix.Mount(filepath.Join(path, "sub"), sub, "", unix.MS_BIND, ""))
	r := NewReaper(n.Backend, &pods{live: map[string]bool{"driver": true, "uid-1": true}}, 0)
	r.Ask(&cluster{pods: pods{live: map[string]bool{"driver": true}}}, func() bool { return true })
	r.proc = procOf(t, os.Getpid())
	n.must(r.Reap(t.Context()))
	n.must(r.Reap(t.Context()))
	n.clean()
}

func TestWhatCanNotBeSeenIsInUse(t *testing.T) {
	n := newNode(t)
	n.kubeletSpec("uid-1")
	r := n.records()[0]
	if err := unusedByContainers(t.TempDir(), r); err == nil || !strings.Contains(err.Error(), "no process") {
		t.Errorf("no process at all: %v", err)
	}
	dir := procOf(t, os.Getpid())
	n.must(os.MkdirAll(filepath.Join(dir, "1", "ns"), 0o755))
	n.must(os.Symlink("mnt:[1]", filepath.Join(dir, "1", "ns", "mnt")))
	n.must(os.Mkdir(filepath.Join(dir, "1", "mountinfo"), 0o755)) // can't be read
	if err := unusedByContainers(dir, r); err == nil || !strings.Contains(err.Error(), "process 1:") {
		t.Errorf("a process that can't be looked at: %v", err)
	}
	n.must(os.RemoveAll(filepath.Join(dir, "1")))
	n.must(os.Symlink("/proc/0", filepath.Join(dir, "2"))) // has ended
	if err := unusedByContainers(dir, r); err != nil {
		t.Error(err)
	}
}

func TestGrownRecordsGoWithTheirPersistentVolume(t *testing.T) {
	n := newNode(t)
	grow := func(name string) string {
		s := n.spec(name, 64*mib)
		n.must(n.Stage(t.Context(), s))
		if _, err := n.ExpandOnNode(t.Context(), s.ID, s.Path, volume.CapacityRange{Required: 128 * mib}); err != nil {
			t.Fatal(err)
		}
		return string(s.ID)
	}
	unstage := func(name string) { s := n.spec(name, 64*mib); n.must(n.Unstage(t.Context(), s.ID, s.Path)) }
	used, kept, gone := grow("used"), grow("kept"), grow("gone")
	has := func(id string) bool { _, ok := n.ledger.grown[nameOf(id)]; return ok }
	api := &cluster{handles: map[string]bool{kept: true, gone: true}}
	r := NewReaper(n.Backend, &pods{live: map[string]bool{"driver": true}}, 20*time.Minute)
	r.Ask(api, func() bool { return true })
	clock := time.Now()
	r.now = func() time.Time { return clock }
	look := func(after time.Duration) {
		t.Helper()
		clock = clock.Add(after)
		n.must(r.Reap(t.Context()))
	}
	look(0)
	if api.asked != 0 {
		t.Error("the API was asked although every claim is staged")
	}
	unstage("kept")
	unstage("gone")
	look(0)
	look(time.Minute)
	if api.asked != 1 {
		t.Errorf("the API was asked %d times within a minute", api.asked)
	}
	delete(api.handles, gone)
	look(time.Hour) // seen first
	if !has(gone) {
		t.Fatal("removed at the first look")
	}
	clock = clock.Add(time.Hour)
	api.err = errors.New("connection refused")
	if err := r.Reap(t.Context()); !errors.Is(err, api.err) || !has(gone) {
		t.Fatalf("not knowing: %v", err)
	}
	api.err, api.silent = nil, errors.New("the API has no such node")
	if err := r.Reap(t.Context()); !errors.Is(err, api.silent) || !has(gone) {
		t.Fatalf("another cluster's API: %v", err)
	}
	api.silent = nil
	look(0)
	if has(gone) || !has(kept) || !has(used) {
		t.Errorf("left: gone %t, kept %t, used %t", has(gone), has(kept), has(used))
	}
	n.start()
	if has(gone) || !has(kept) {
		t.Error("the journal says otherwise")
	}
}
