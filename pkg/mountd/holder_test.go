package mountd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountd"
)

func TestStartMountsOnceAndStopLeavesNothing(t *testing.T) {
	h := newHolder(t)
	s := h.spec("good")
	first := h.mustStart(s)
	if first.State != mountd.Running || first.PID == 0 {
		t.Errorf("status %+v", first)
	}
	if again := h.mustStart(s); again.PID != first.PID {
		t.Errorf("the repeated start made another process: %d, %d", first.PID, again.PID)
	}
	other := s
	other.Path = "/volumes/g/other/u"
	if err := h.Start(h.ctx(), other, []byte(goodKey)); !errors.Is(err, mountd.ErrConflict) {
		t.Errorf("a different start at the same place: %v", err)
	}
	for range 2 {
		if err := h.Stop(h.ctx(), s.Mountpoint); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := h.List(h.ctx()); err != nil || len(all) != 0 || isMounted(t, s.Mountpoint) {
		t.Errorf("left over: %+v %v", all, err)
	}
	for _, glob := range []string{"state/*.json*", "log/*"} {
		if left, _ := filepath.Glob(filepath.Join(h.dir, glob)); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
}

func TestFailuresAreTold(t *testing.T) {
	h := newHolder(t)
	for _, c := range []struct {
		user string
		key  string
		want error
	}{
		{"denied", goodKey, mountd.ErrDenied},
		{"absent", goodKey, mountd.ErrNotFound},
		{"good", "another", mountd.ErrDenied},
		{"good", "another: key", mountd.ErrInvalid},
		{"good", "", mountd.ErrInvalid},
		{"deaf", goodKey, mountd.ErrInvalid},
		{"impatient", goodKey, mountd.ErrDenied},
		{"alone", goodKey, mountd.ErrUnreachable},
	} {
		s := h.spec(c.user)
		if err := h.Start(h.ctx(), s, []byte(c.key)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.user, err, c.want)
		}
		if all, _ := h.List(h.ctx()); len(all) != 0 {
			t.Errorf("%s: left over: %+v", c.user, all)
		}
	}
}

func TestStartEndsAtItsCallersDeadline(t *testing.T) {
	h := newHolder(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s := h.spec("silent")
	if err := h.Start(ctx, s, []byte(goodKey)); !errors.Is(err, mountd.ErrUnreachable) {
		t.Errorf("%v", err)
	}
	h.eventually("no process is left", func() bool { all, err := h.List(h.ctx()); return err == nil && len(all) == 0 })
}

func TestARefusedKeyIsToldSoon(t *testing.T) {
	h := newHolder(t)
	s := h.spec("refused")
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := h.Start(ctx, s, []byte(goodKey)); !errors.Is(err, mountd.ErrDenied) {
		t.Errorf("%v", err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("after %v", took)
	}
	if all, err := h.List(h.ctx()); err != nil || len(all) != 0 {
		t.Errorf("left over: %+v, %v", all, err)
	}
}

func TestAMonitorThatLagsBehindIsNotTheLastWord(t *testing.T) {
	h := newHolder(t)
	h.mustStart(h.spec("lagging"))
}

func TestHowCephFuseIsStarted(t *testing.T) {
	h := newHolder(t)
	s := h.spec("good")
	s.ReadOnly = true
	s.Options = []string{"noatime", "client_mount_timeout=7"}
	st := h.mustStart(s) // with a minute
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", st.PID))
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(strings.Split(string(raw), "\x00"), " ")
	for _, want := range []string{
		" --client_try_dentry_invalidate=true --client_mount_timeout=", " -o ro -o noatime --client_mount_timeout=7 ", " -n client.good ",
		" -m 127.0.0.1:3300 --client_fs=warm -r /volumes/g/v/u ",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%q isn't in %q", want, line)
		}
	}
	// It gives up before its caller does, who had a minute when the call began.
	_, rest, _ := strings.Cut(line, " --client_mount_timeout=")
	seconds, _, _ := strings.Cut(rest, " ")
	if n, err := strconv.Atoi(seconds); err != nil || n > 58 || n < 10 {
		t.Errorf("it waits for %q seconds", seconds)
	}
}

func TestWhoChecksPermissions(t *testing.T) {
	for option, want := range map[string]string{
		"noatime":                   "--fuse_default_permissions=true",
		"client_acl_type=posix_acl": "--fuse_default_permissions=false",
	} {
		h := newHolder(t)
		s := h.spec("good")
		s.Options = []string{option}
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", h.mustStart(s).PID))
		if err != nil || !bytes.Contains(raw, []byte("\x00"+want+"\x00")) {
			t.Errorf("%s: no %s in %q %v", option, want, raw, err)
		}
	}
}

func TestDeadClientIsSeenAndReplaced(t *testing.T) {
	h := newHolder(t)
	s := h.spec("good")
	first := h.mustStart(s)
	if err := unix.Kill(first.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.eventually("the death is seen", func() bool { return h.status(s).State == mountd.Exited })
	if exit := h.status(s).Exit; !strings.Contains(exit, "killed") {
		t.Errorf("it says %q", exit)
	}
	if second := h.mustStart(s); second.PID == first.PID || second.State != mountd.Running {
		t.Errorf("not replaced: %+v", second)
	}
}

func TestClientsOutliveTheHolder(t *testing.T) {
	h := newHolder(t)
	s := h.spec("good")
	first := h.mustStart(s)
	h.kill()
	if !isMounted(t, s.Mountpoint) {
		t.Fatal("the mount went with the holder")
	}
	h.start()
	if again := h.mustStart(s); again.PID != first.PID {
		t.Errorf("not adopted: %d, then %d", first.PID, again.PID)
	}
	if err := h.Stop(h.ctx(), s.Mountpoint); err != nil {
		t.Fatal(err)
	}

	// One that dies while no holder runs is found dead.
	first = h.mustStart(s)
	h.kill()
	if err := unix.Kill(first.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.start()
	if st := h.status(s); st.State != mountd.Exited {
		t.Errorf("%+v", st)
	}
}

func TestSecondHolderIsRefused(t *testing.T) {
	h := newHolder(t)
	err := mountd.Run(h.ctx(), optionsBelow(h.dir, os.Args[0]))
	if err == nil || !strings.Contains(err.Error(), "two must not share") {
		t.Errorf("%v", err)
	}
}

func TestKeyIsNowhere(t *testing.T) {
	h := newHolder(t)
	st := h.mustStart(h.spec("good"))
	proc := fmt.Sprintf("/proc/%d/", st.PID)
	places := []string{proc + "cmdline", proc + "environ", proc + "fd/3"}
	for _, glob := range []string{"state/*", "log/*"} {
		files, err := filepath.Glob(filepath.Join(h.dir, glob))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v %v", glob, files, err)
		}
		places = append(places, files...)
	}
	for _, p := range places {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("sentinelKey")) {
			t.Errorf("%s holds the key", p)
		}
	}
	if strings.Contains(h.output(), "sentinelKey") {
		t.Error("the holder printed the key")
	}
}

func TestOnlyTheAllowedUserMayAsk(t *testing.T) {
	h := newHolder(t)
	// The socket is made reachable, so that the refusal is the server's own.
	for path, mode := range map[string]os.FileMode{h.dir: 0o755, h.Socket: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	// By a descriptor, since directories above may be closed to others.
	dir, err := os.Open(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAskAsNobody$", "-test.v")
	cmd.Env = append(os.Environ(), "MOUNTD_TEST_ASK=/proc/self/fd/3/"+filepath.Base(h.Socket))
	cmd.ExtraFiles = []*os.File{dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "user 65534 may not ask") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestAskAsNobody is the other half of TestOnlyTheAllowedUserMayAsk; alone it has nobody to ask.
func TestAskAsNobody(t *testing.T) {
	socket := os.Getenv("MOUNTD_TEST_ASK")
	if socket == "" {
		return
	}
	t.Log(mountd.Client{Socket: socket}.Ping(context.Background()))
}

func TestGarbageIsRefused(t *testing.T) {
	h := newHolder(t)
	for name, message := range map[string][]byte{
		"not JSON":  []byte("\x00\xff{{{"),
		"too long":  bytes.Repeat([]byte("a"), 65<<10),
		"version":   []byte(`{"version":99,"op":"ping"}`),
		"operation": []byte(`{"version":1,"op":"explode"}`),
		"no spec":   []byte(`{"version":1,"op":"start"}`),
		"option":    []byte(`{"version":1,"op":"start","spec":{"kind":"ceph-fuse","mountpoint":"/m","source":"s","monitors":["a:1"],"user":"u","fs":"f","path":"/p","options":["--keyring=/etc/x"]}}`),
		"file":      []byte(`{"version":1,"op":"start","spec":{"kind":"ceph-fuse","mountpoint":"/m","source":"s","monitors":["a:1"],"user":"u","fs":"f","path":"/p","options":["keyring=/etc/x"]}}`),
		"place":     []byte(`{"version":1,"op":"start","spec":{"kind":"ceph-fuse","mountpoint":"/m","source":"s","monitors":["a:1"],"user":"u","fs":"f","path":"/p","options":["client_mountpoint=etc"]}}`),
		"flag":      []byte(`{"version":1,"op":"start","spec":{"kind":"ceph-fuse","mountpoint":"/m","source":"s","monitors":["a:1"],"user":"u","fs":"f","path":"/p","options":["suid"]}}`),
		"shell":     []byte(`{"version":1,"op":"start","spec":{"kind":"ceph-fuse","mountpoint":"/m;x","source":"s","monitors":["a:1"],"user":"u","fs":"f","path":"/p"}}`),
		"path":      []byte(`{"version":1,"op":"start","spec":{"kind":"ceph-fuse","mountpoint":"/m/../etc","source":"s","monitors":["a:1"],"user":"u","fs":"f","path":"/p"}}`),
	} {
		conn, err := net.Dial("unixpacket", h.Socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(message); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		answer := make([]byte, 64<<10)
		n, err := conn.Read(answer)
		if err != nil || !bytes.Contains(answer[:n], []byte(`"code":"invalid"`)) {
			t.Errorf("%s: %s %v", name, answer[:n], err)
		}
		_ = conn.Close()
	}
	if err := h.Ping(h.ctx()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestNoHolderIsSaid(t *testing.T) {
	err := mountd.Client{Socket: filepath.Join(t.TempDir(), "none")}.Ping(context.Background())
	if !errors.Is(err, mountd.ErrNoServer) {
		t.Errorf("%v", err)
	}
}
