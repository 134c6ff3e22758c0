package lab

// The life of a machine: started, watched, turned off or killed. QEMU gets the
// kernel's promise to be killed when the test dies, so nothing outlives a crash.

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/strata-csi/strata/tests/kernel/agent"
)

// qemu is the emulator, of Debian's qemu-system-x86.
const qemu = "qemu-system-x86_64"

// Config describes a machine.
type Config struct {
	// Dir is where the machine's files go (console, initramfs); it exists. The
	// caller removes it.
	Dir string
	// Kernel is where its kernel comes from.
	Kernel Suite
	// Memory in MiB; 768 when zero. The initramfs lives in it.
	Memory int
	// CPUs; 1 when zero. Each is a thread of the emulator at full load.
	CPUs int
	// PortBase and Ports are the range of local ports that lead to the same ports
	// of the host's 127.0.0.1; none when Ports is zero.
	PortBase, Ports int
	// Files are programs to have in the machine: path there, path on the host.
	Files map[string]string
	// Modules are kernel modules to have beside the usual ones; they are loaded on demand.
	Modules []string
	// Disks are attached in this order.
	Disks []Disk
}

// Disk is an NVMe disk of a machine. Its image outlives the machine: a second Boot
// with the same disks is the same node after a power cut.
type Disk struct {
	// Image is the path of a raw image; its length is the size of the disk.
	Image string
	// Serial names the disk in the guest (/sys/block/*/device/serial).
	Serial string
}

// Machine is a running machine.
type Machine struct {
	console string
	disks   []Disk
	cmd     *exec.Cmd
	gate    *gate
	dead    chan struct{} // closed when QEMU ended
	exit    error         // how; valid once dead is closed
}

// Boot starts a machine and waits until its agent answers, which takes about ten
// seconds. A kernel panic on the way is an error with the end of the console.
func Boot(ctx context.Context, cfg Config) (*Machine, error) {
	for _, tool := range []string{qemu, busybox} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%w; run: go run ./hack/ceph install", err)
		}
	}
	k, err := fetchKernel(ctx, cfg.Kernel)
	if err != nil {
		return nil, err
	}
	initramfs := filepath.Join(cfg.Dir, "initramfs")
	if err := writeInitramfs(ctx, initramfs, k, cfg); err != nil {
		return nil, err
	}
	token := rand.Text()
	g, err := openGate(token)
	if err != nil {
		return nil, err
	}
	m := &Machine{console: filepath.Join(cfg.Dir, "console.log"), disks: cfg.Disks, gate: g, dead: make(chan struct{})}
	m.cmd = exec.Command(qemu, arguments(cfg, k, initramfs, m.console, token, g.port())...)
	var said bytes.Buffer
	m.cmd.Stdout, m.cmd.Stderr = &said, &said
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := m.start(&said); err != nil {
		return nil, errors.Join(err, g.close())
	}
	c, err := m.conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the machine did not boot: %w\n%s", err, m.Console()), m.Kill())
	}
	_ = c.Close()
	return m, nil
}

// start starts QEMU and watches it. The parent-death signal follows the thread that
// started it, so that thread is kept until the end.
func (m *Machine) start(said *bytes.Buffer) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := m.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = m.cmd.Wait()
		m.exit = fmt.Errorf("the machine is off (%w) %s", errors.Join(err, errors.New("qemu ended")), said.String())
		close(m.dead)
	}()
	return <-started
}

func arguments(cfg Config, k kernel, initramfs, console, token string, hostPort int) []string {
	memory, cpus := cfg.Memory, cfg.CPUs
	if memory == 0 {
		memory = 768
	}
	if cpus == 0 {
		cpus = 1
	}
	line := []string{
		"console=ttyS0", "quiet", "loglevel=4", "panic=-1", "oops=panic", "cryptomgr.notests", "mitigations=off", "audit=0", "apparmor=0",
		agent.ParamHost + "=" + net.JoinHostPort(agent.HostLoopback, strconv.Itoa(hostPort)),
		agent.ParamToken + "=" + token,
		agent.ParamModules + "=" + strings.Join(bootModules(), ","),
	}
	if cfg.Ports > 0 {
		line = append(line, fmt.Sprintf("%s=%d-%d", agent.ParamPorts, cfg.PortBase, cfg.PortBase+cfg.Ports-1))
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg", "-cpu", "max", "-m", strconv.Itoa(memory), "-smp", strconv.Itoa(cpus),
		"-kernel", k.image(), "-initrd", initramfs, "-append", strings.Join(line, " "),
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
		"-serial", "file:" + console,
	}
	for i, d := range cfg.Disks {
		id := "disk" + strconv.Itoa(i)
		// A comma in a value is written twice. What the machine has flushed is in the host's memory, which a killed qemu leaves as it is: to have the host flush it
		// too would only take time.
		args = append(args, "-drive", "if=none,format=raw,discard=unmap,cache=unsafe,id="+id+",file="+strings.ReplaceAll(d.Image, ",", ",,"),
			"-device", "nvme,drive="+id+",serial="+strings.ReplaceAll(d.Serial, ",", ",,"))
	}
	return args
}

// ErrKilled is what Close returns of a machine that did not turn itself off.
var ErrKilled = errors.New("the machine had to be killed")

// Close turns the machine off the way a machine is turned off: network file systems
// are detached first, so the cluster isn't left waiting for a vanished client. One
// that doesn't react within two minutes, which is long even on a busy host, is killed: ErrKilled.
func (m *Machine) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	// The answer is lost with the machine.
	_ = m.call(ctx, agent.PathPowerOff, nil, nil, nil)
	select {
	case <-m.dead:
		return m.gate.close()
	case <-ctx.Done():
		return errors.Join(m.Kill(), ErrKilled)
	}
}

// Kill is a power cut. It is harmless on a machine that is off.
func (m *Machine) Kill() error {
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-m.dead
	return m.gate.close()
}

// Console returns the end of what the machine wrote to its console.
func (m *Machine) Console() string {
	b, err := os.ReadFile(m.console)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// Faults returns the lines of the console by which a kernel says that it is broken.
// A test that passed on such a kernel proved nothing.
func (m *Machine) Faults() ([]string, error) {
	b, err := os.ReadFile(m.console)
	if err != nil {
		return nil, err
	}
	var faults []string
	for line := range strings.Lines(string(b)) {
		if slices.ContainsFunc([]string{"Kernel panic", "BUG:", "Oops", "WARNING: CPU", "blocked for more than", "general protection", "guest: "}, func(s string) bool { return strings.Contains(line, s) }) {
			faults = append(faults, strings.TrimSpace(line))
		}
	}
	return faults, nil
}
