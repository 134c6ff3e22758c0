package cold

// Processes that are killed while pods use a volume.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/tests/harness"
)

// fio writes and reads back files below a directory until it is stopped, and verifies what it reads. The function stops it and wants it to have seen no error.
func fio(t *testing.T, dir string) (stop func()) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("fio", "--name=pod", "--directory="+dir, "--rw=write", "--bs=128k", "--size=4m", "--nrfiles=4", "--numjobs=2", "--verify=crc32c", "--do_verify=1",
		"--verify_fatal=1", "--verify_state_save=0", "--end_fsync=1", "--time_based", "--runtime=3600", "--output-format=terse")
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	harness.Eventually(t, "fio works", harness.Patience, func() error {
		files, err := filepath.Glob(filepath.Join(dir, "pod.*"))
		if err == nil && len(files) == 0 {
			err = errors.New("it has written nothing yet")
		}
		return err
	})
	return func() {
		t.Helper()
		must(t, cmd.Process.Signal(unix.SIGINT)) // it finishes what it has begun
		err := within(t, "fio", func() error { return <-done })
		// 128 is how it ends after an interrupt; an error of a file is told in its output, and its number is that of the errno.
		var exit *exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 128) || strings.Contains(out.String(), "err=") {
			t.Errorf("fio: %v\n%s", err, out.String())
		}
		if strings.Contains(out.String(), "verify: bad") || strings.Contains(out.String(), "verify failed") {
			t.Error("DATA MISMATCH: fio reads something else than it wrote")
		}
	}
}

func TestPodsDoNotNoticeThatTheNodesServiceIsKilled(t *testing.T) {
	f := newFixture(t)
	v := f.volume("pvc-kill", 256*mib)
	on := f.a.Mount(v, "vol", harness.RWX)
	before := engine(t, f.a, "vol")
	stop := fio(t, on)
	for range 3 {
		f.a.Kill()
		write(t, filepath.Join(on, "while-it-is-dead"), "written")
		wantContent(t, filepath.Join(on, "while-it-is-dead"), "written")
		f.a.Start("")
		// What kubelet asks again when it has seen the service return.
		must(t, f.a.Stage(call(t), v, "vol", harness.RWX))
		must(t, f.a.Publish(call(t), v, "vol", "vol", harness.RWX, false))
	}
	stop()
	if after := engine(t, f.a, "vol"); after.PID != before.PID || after.State != mountd.Running {
		t.Errorf("another engine: %+v", after)
	}
	f.a.Unmount(v, "vol")
	nothingLeft(t, f.a)
	f.remove(v)
}

func TestAnEngineThatDiesIsSeenAndReplaced(t *testing.T) {
	f := newFixture(t)
	v := f.volume("pvc-dead", 64*mib)
	on := f.a.Mount(v, "vol", harness.RWX)
	write(t, filepath.Join(on, "closed"), "it was durable")
	open, err := os.Create(filepath.Join(on, "open"))
	must(t, err)
	defer open.Close()
	first := engine(t, f.a, "vol")
	// Stopped before it dies, so that somebody waits for it.
	must(t, unix.Kill(first.PID, unix.SIGSTOP))
	answer := make(chan error, 1)
	go func() {
		_, err := os.ReadDir(on)
		answer <- err
	}()
	must(t, unix.Kill(first.PID, unix.SIGKILL))
	if err := within(t, "who waits for a dead engine", func() error { return <-answer }); !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) && err != nil {
		t.Errorf("who waited got %v", err)
	}
	if _, err := os.Stat(filepath.Join(on, "closed")); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("a dead mount answers %v", err)
	}
	eventuallyReasons(t, f.a, v, "vol", "MountDead")
	// A new pod of the same claim: its kubelet takes the volume for staged.
	must(t, f.a.Publish(call(t), v, "vol", "second", harness.RWX, false))
	wantContent(t, filepath.Join(f.a.Target("second"), "closed"), "it was durable")
	if second := engine(t, f.a, "vol"); second.PID == first.PID {
		t.Error("it is the dead engine still")
	}
	if got := reasons(t, f.a, v, "vol"); len(got) > 0 {
		t.Errorf("volume health says %v", got)
	}
	// The first pod is restarted.
	unpublish(t, f.a, v, "vol")
	must(t, f.a.Publish(call(t), v, "vol", "vol", harness.RWX, false))
	wantContent(t, filepath.Join(on, "closed"), "it was durable")
	unpublish(t, f.a, v, "second")
	f.a.Unmount(v, "vol")
	nothingLeft(t, f.a)
	f.remove(v)
}

func TestEnginesOutliveTheirHolder(t *testing.T) {
	f := newFixture(t)
	v := f.volume("pvc-holder", 64*mib)
	on := f.a.Mount(v, "vol", harness.RWX)
	first := engine(t, f.a, "vol")
	stop := fio(t, on)
	f.a.KillMountd()
	write(t, filepath.Join(on, "without-a-holder"), "written")
	if got := reasons(t, f.a, v, "vol"); !slices.Equal(got, []string{"EngineUnheard"}) {
		t.Errorf("volume health says %v", got)
	}
	f.a.StartMountd()
	stop()
	if again := engine(t, f.a, "vol"); again.PID != first.PID || !again.Detached {
		t.Errorf("not adopted: %+v", again)
	}
	if got := reasons(t, f.a, v, "vol"); !slices.Equal(got, []string{"EngineDetached"}) {
		t.Errorf("volume health says %v", got)
	}
	must(t, f.a.Stage(call(t), v, "vol", harness.RWX))
	wantContent(t, filepath.Join(on, "without-a-holder"), "written")
	f.a.Unmount(v, "vol")
	nothingLeft(t, f.a)
	if got := f.object(v, "without-a-holder"); got != "written" {
		t.Errorf("DATA MISMATCH: the object has %q", got)
	}
}

func TestAStoreThatRefusesIsTold(t *testing.T) {
	f := newFixture(t)
	v := f.volume("pvc-refused", mib)
	wrong := func(name, value string) error {
		n := f.a
		old := n.Secrets
		defer func() { n.Secrets = old }()
		n.Secrets = map[string]string{"accessKeyID": old["accessKeyID"], "secretAccessKey": old["secretAccessKey"]}
		n.Secrets[name] = value
		return n.Stage(call(t), v, "vol", harness.RWX)
	}
	const bad = "sentinelOfAWrongSecret"
	for name, err := range map[string]error{"another's key": wrong("accessKeyID", "NOBODY"), "a wrong secret": wrong("secretAccessKey", bad)} {
		if err == nil || strings.Contains(err.Error(), bad) {
			t.Fatalf("%s: %v", name, err)
		}
		wantCode(t, err, codes.PermissionDenied)
	}
	wantCode(t, wrong("accessKeyID", ""), codes.InvalidArgument, "accessKeyID")
	err := f.a.Stage(call(t), volumeOf("cold:gone", f.server.Endpoint, "gone"), "gone", harness.RWX)
	wantCode(t, err, codes.NotFound, "gone")

	// A key that is right when it is staged, and no longer later.
	on := f.a.Mount(v, "vol", harness.RWX)
	write(t, filepath.Join(on, "file"), "there")
	must(t, wrong("secretAccessKey", bad))
	harness.Eventually(t, "the engine uses the new key", harness.Patience, func() error {
		_, err := os.ReadDir(on)
		if errors.Is(err, unix.EACCES) {
			return nil
		}
		return fmt.Errorf("it answers %w", err)
	})
	eventuallyReasons(t, f.a, v, "vol", "CredentialRefused")
	must(t, f.a.Stage(call(t), v, "vol", harness.RWX)) // with the right one
	harness.Eventually(t, "the engine works with the right key", harness.Patience, func() error {
		return os.WriteFile(filepath.Join(on, "file"), []byte("again"), 0o644)
	})
	eventuallyReasons(t, f.a, v, "vol")

	// And a store that goes away.
	f.server.Kill()
	err = f.b.Stage(call(t), v, "vol", harness.RWX)
	wantCode(t, err, codes.Unavailable)
	f.server.Start(t)
	must(t, f.b.Stage(call(t), v, "vol", harness.RWX))
	must(t, f.b.Publish(call(t), v, "vol", "vol", harness.RWX, false))
	wantContent(t, filepath.Join(f.b.Target("vol"), "file"), "again")
	for n, failed := range map[*harness.Node][]string{f.a: {"gone"}, f.b: nil} {
		n.Unmount(v, "vol")
		nothingLeft(t, n, failed...)
		if log := n.Log() + n.EngineLogs(); strings.Contains(log, bad) {
			t.Errorf("%s logs a secret", n.ID)
		}
	}
}
