package mountd_test

// The ceph-fuse and the strata-mountd of the tests: both are the test binary itself. The real ceph-fuse is tested in
// tests/integration.

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv("STRATA_MOUNTPOINT") != "":
		os.Exit(fakeEngine())
	case len(os.Args) > 1 && os.Args[1] == "-f":
		os.Exit(fakeCephFuse(os.Args[1:]))
	case os.Getenv("MOUNTD_TEST_SERVE") != "":
		os.Exit(serve(os.Getenv("MOUNTD_TEST_SERVE")))
	}
	os.Exit(m.Run())
}

// serve is strata-mountd, with all that it can log.
func serve(dir string) int {
	logging := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(logging)
	_ = logging.Set("v", "10")
	defer klog.Flush()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := mountd.Run(ctx, optionsBelow(dir, os.Args[0])); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const goodKey = "AQBsentinelKeyThatMustNotLeak=="

// monitorsRefuse is what ceph-fuse prints for each monitor that refuses its key.
const monitorsRefuse = "-1 monclient(hunting): handle_auth_bad_method server allowed_methods [2] but i only support [2,1]"

// fakeCephFuse is told what to do by the user's name.
func fakeCephFuse(args []string) int {
	target := args[len(args)-1]
	user := strings.TrimPrefix(args[index(args, "client.")], "client.")
	source := strings.TrimPrefix(args[index(args, "fsname=")], "fsname=")
	key, err := os.ReadFile("/proc/self/fd/3")
	switch {
	case user == "refused":
		for {
			fmt.Fprintln(os.Stderr, monitorsRefuse)
			time.Sleep(700 * time.Millisecond) // as often as it asks the monitors again
		}
	case user == "impatient":
		fmt.Fprintln(os.Stderr, monitorsRefuse)
		fmt.Fprintln(os.Stderr, "0 monclient(hunting): authenticate timed out after 1\n\nfailed to fetch mon config (--no-mon-config to skip)")
		return 1
	case user == "alone":
		fmt.Fprintln(os.Stderr, "0 monclient(hunting): authenticate timed out after 1\n\nfailed to fetch mon config (--no-mon-config to skip)")
		return 1
	case err != nil || string(key) != goodKey || user == "denied":
		fmt.Fprintln(os.Stderr, "ceph-fuse[1]: ceph mount failed with (13) Permission denied")
		return 1
	case user == "absent":
		fmt.Fprintln(os.Stderr, "ceph-fuse[1]: ceph mount failed with (2) No such file or directory")
		return 1
	case user == "silent":
		select {}
	case user == "lagging": // two of three monitors don't know the key yet, and the metadata server takes its time
		fmt.Fprintln(os.Stderr, monitorsRefuse+"\n"+monitorsRefuse)
		time.Sleep(1500 * time.Millisecond)
	case user == "deaf": // to one of its options
		fmt.Fprintln(os.Stderr, "parse error setting 'client_oc_size' to 'abc' (strict_iecstrtoll: illegal prefix (length > 2))")
	case user == "fuse":
		return fuse(source, target)
	}
	if err := unix.Mount(source, target, "tmpfs", 0, "size=1m"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	m, mounted, err := made(source, target)
	if err != nil {
		return 1
	}
	// The fake has nothing to wait on: it serves nothing.
	for mounted && isSomewhere(m) {
		time.Sleep(5 * time.Millisecond)
	}
	// It writes back what it holds; a test that failed leaves it nothing to wait for.
	for user == "busy" && !exists(target+".written") && exists(filepath.Dir(target)) {
		time.Sleep(5 * time.Millisecond)
	}
	return 0
}

// made finds the mount that was just made at target, or what a test that was quicker has left of it: a pod's bind mount.
func made(source, target string) (mountpoint.Mount, bool, error) {
	m, ok, err := mountpoint.Find(target)
	if err != nil {
		return mountpoint.Mount{}, false, err
	}
	if ok {
		return *m, true, nil
	}
	table, err := mountpoint.Read()
	if rest := table.FromSource("tmpfs", source); len(rest) > 0 {
		return rest[0], true, err
	}
	return mountpoint.Mount{}, false, err
}

// fuse serves a file system of FUSE. SIGUSR1 evicts it.
func fuse(source, target string) int {
	f, err := mountpointtest.MountFrom(source, target, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	evict := make(chan os.Signal, 1)
	signal.Notify(evict, syscall.SIGUSR1)
	go func() {
		<-evict
		f.Cut(unix.ESHUTDOWN)
	}()
	if err := f.Serve(); err != nil {
		return 1
	}
	return 0
}

func isSomewhere(m mountpoint.Mount) bool {
	table, err := mountpoint.Read()
	return err != nil || len(table.OfDevice(m)) > 0
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func index(words []string, prefix string) int {
	for i, w := range words {
		if strings.HasPrefix(w, prefix) {
			return i
		}
	}
	return 0
}

func optionsBelow(dir, binary string) mountd.Options {
	return mountd.Options{Socket: filepath.Join(dir, "s"), StateDir: filepath.Join(dir, "state"), LogDir: filepath.Join(dir, "log"), CephFuse: binary,
		MetricsAddress: "127.0.0.1:0",
		// By a link that leads there whoever follows it: the test binary is in a directory of root's.
		ColdFS: mountd.ColdFSOptions{Binary: "/proc/self/exe", UID: 65534, CacheDir: filepath.Join(dir, "cache"), CacheSize: 1 << 30, CacheReserve: 1 << 20, Memory: 256 << 20}}
}

// holder is a strata-mountd in a process of its own.
type holder struct {
	mountd.Client
	t   *testing.T
	dir string
	cmd *exec.Cmd
}

func newHolder(t *testing.T) *holder {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("must be run as root: it mounts")
	}
	dir, err := os.MkdirTemp("", "mountd")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // engines pass it on the way to their cache
		t.Fatal(err)
	}
	h := &holder{t: t, dir: dir, Client: mountd.Client{Socket: filepath.Join(dir, "s")}}
	t.Cleanup(func() {
		h.kill()
		table, err := mountpoint.Read()
		if err != nil {
			t.Error(err)
		}
		for _, path := range table.Below(dir).Paths() {
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h.start()
	return h
}

func (h *holder) start() {
	h.t.Helper()
	h.cmd = exec.Command(os.Args[0])
	h.cmd.Env = append(os.Environ(), "MOUNTD_TEST_SERVE="+h.dir)
	log, err := os.OpenFile(filepath.Join(h.dir, "output"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	h.cmd.Stdout, h.cmd.Stderr = log, log
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("answers", func() bool { return h.Ping(h.ctx()) == nil })
}

// output is what the holder has printed.
func (h *holder) output() string {
	raw, _ := os.ReadFile(filepath.Join(h.dir, "output"))
	return string(raw)
}

func (h *holder) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

func (h *holder) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	h.t.Cleanup(cancel)
	return ctx
}

func (h *holder) eventually(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			h.t.Fatalf("not in time: %s\n%s", what, h.output())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (h *holder) spec(user string) mountd.Spec {
	h.t.Helper()
	path := filepath.Join(h.dir, "mnt")
	if err := os.MkdirAll(path, 0o700); err != nil {
		h.t.Fatal(err)
	}
	return mountd.Spec{Kind: mountd.KindCephFuse, Mountpoint: path, Source: "strata:warm:a:b:" + filepath.Base(h.dir), Monitors: []string{"127.0.0.1:3300"},
		User: user, FS: "warm", Path: "/volumes/g/v/u", Options: []string{"noatime", "client_oc=true"}}
}

func (h *holder) mustStart(s mountd.Spec) mountd.Status {
	h.t.Helper()
	if err := h.Start(h.ctx(), s, []byte(goodKey)); err != nil {
		h.t.Fatalf("%v\n%s", err, h.output())
	}
	return h.status(s)
}

func (h *holder) status(s mountd.Spec) mountd.Status {
	h.t.Helper()
	st, ok, err := h.Health(h.ctx(), s.Mountpoint)
	if err != nil || !ok {
		h.t.Fatalf("health: %v, known: %v", err, ok)
	}
	return st
}

func isMounted(t *testing.T, path string) bool {
	t.Helper()
	_, ok, err := mountpoint.Find(path)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}
