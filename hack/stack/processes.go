package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// command runs a step's program with its output shown, indented.
func (s *Stack) command(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = s.root, append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// Tool runs the command line "ceph" or "rados" as client.admin and returns its output without the last newline.
func (s *Stack) Tool(tool string, args ...string) (string, error) {
	args = append([]string{"--conf", s.CephFile("ceph.conf"), "--keyring", s.CephFile("ceph.client.admin.keyring")}, args...)
	out, err := exec.Command(tool, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %s", tool, err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// program is one of ours, running.
type program struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// launch starts one of our programs.
func (s *Stack) launch(name, instance string, args ...string) (*program, error) {
	return s.start(exec.Command(filepath.Join(s.bin, name), args...), instance)
}

// start starts a program that dies with this process. Its log is in the directory.
func (s *Stack) start(cmd *exec.Cmd, instance string) (*program, error) {
	path := filepath.Join(s.Dir, instance+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &program{cmd: cmd, log: path, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// In a process group of its own, so that ctrl-C ends this process first, and this process what it started.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	s.programs = append(s.programs, p)
	return p, nil
}

func (p *program) end(s os.Signal) {
	_ = p.cmd.Process.Signal(s)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// connect waits until a program answers on its CSI socket.
func connect(ctx context.Context, p *program, socket string) (*grpc.ClientConn, error) {
	conn, err := dial(ctx, socket, p.done)
	if errors.Is(err, errEnded) {
		text, _ := os.ReadFile(p.log)
		err = fmt.Errorf("%s %w:\n%s", p.cmd.Path, err, text)
	}
	return conn, err
}

var errEnded = errors.New("ended at once")

// dial waits until somebody answers on a CSI socket; once done is closed nobody will, and the error is errEnded.
func dial(ctx context.Context, socket string, done <-chan struct{}) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	identity := csi.NewIdentityClient(conn)
	for {
		once, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := identity.Probe(once, &csi.ProbeRequest{})
		cancel()
		if err == nil {
			return conn, nil
		}
		select {
		case <-done:
			return nil, errors.Join(errEnded, conn.Close())
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), conn.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Down ends everything that is below the directory, also what an earlier process left: programs, mounts, loop
// devices, Ceph, files.
func (s *Stack) Down() error {
	if _, err := os.Stat(s.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s.Step("clearing away")
	for _, p := range s.programs {
		p.end(unix.SIGTERM)
	}
	s.programs = nil
	if err := s.unmount(); err != nil {
		return err
	}
	if err := s.endDevices(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.ColdDir()); err != nil {
		return err
	}
	if _, err := os.Stat(s.CephFile("")); !errors.Is(err, fs.ErrNotExist) {
		if err := s.command(context.Background(), nil, "go", "run", "./hack/ceph", "stop", "--dir", s.CephFile("")); err != nil {
			return err
		}
	}
	return os.RemoveAll(s.Dir)
}

// unmount takes away every mount below the directory, and makes sure: what is removed next must not be a volume's files.
func (s *Stack) unmount() error {
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	paths := table.Below(s.Dir).Paths()
	for _, path := range slices.Backward(paths) { // the last ones first: they may be above or below others
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if table, err = mountpoint.Read(); err != nil {
		return err
	}
	if left := table.Below(s.Dir).Paths(); len(left) > 0 {
		return fmt.Errorf("still mounted, so nothing is removed: %s", strings.Join(left, ", "))
	}
	return nil
}
