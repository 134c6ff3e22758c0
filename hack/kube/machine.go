package main

// The namespaces of a cluster. Two kinds of process hold them and do nothing else:
//
//   - the machine has a network, mounts and processes of its own: no port and no name in it can clash with anything, and when its
//     first process ends, by whatever signal, the kernel ends all others and everything mounted is gone;
//   - a node, inside the machine, has mounts and processes of its own once more, and shares the network: it is
//     reached under an address of its own, and its pods with hostNetwork have the Ceph on 127.0.0.1.
//
// Commands enter them with nsenter(1).

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	machineName = "strata-kube-machine"
	nodeName    = "strata-kube-node"
	// spawnName is what a program is called that starts a daemon or a node inside and is gone then.
	spawnName = "strata-kube-spawn"
	// insideName is what `up` is called when it goes on inside of the machine.
	insideName = "strata-kube-inside"
)

func (l Layout) machineCommand() []string       { return []string{machineName, l.Root, l.Dir} }
func (l Layout) nodeCommand(n Node) []string    { return []string{nodeName, l.Root, l.Dir, n.Name} }
func (l Layout) spawnCommand(d string) []string { return []string{spawnName, l.Root, l.Dir, d} }

// holder finds the process that holds the machine, or one node. Its id is that of our own /proc, inside or outside.
func (l Layout) holder(node string) (pid int, err error) {
	command, what := l.machineCommand(), "the cluster in "+l.Dir
	if node != "" {
		n, err := findNode(node)
		if err != nil {
			return 0, err
		}
		command, what = l.nodeCommand(n), node
	}
	pids, err := findProcesses(command)
	if err != nil {
		return 0, err
	}
	if len(pids) == 0 {
		return 0, fmt.Errorf("%s: %w; begin with: up", what, errNotRunning)
	}
	return pids[0], nil
}

var errNotRunning = errors.New("isn't running")

// enter is the start of a command line that runs a program in the machine or in a node; argv follows.
func (l Layout) enter(node, dir string) ([]string, error) {
	pid, err := l.holder(node)
	if err != nil {
		return nil, err
	}
	command := []string{"nsenter", "--target", strconv.Itoa(pid), "--mount", "--net", "--pid", "--ipc"}
	if node != "" {
		command = append(command, "--uts")
	}
	return append(command, "--wdns="+dir, "--"), nil
}

// again is a command line that runs this very program under another name, inside. The shell gives it the name.
func again(args []string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return append([]string{"/bin/bash", "-c", `name=$1; shift; exec -a "$name" "$0" "$@"`, self}, args...), nil
}

// hold starts a holder in new namespaces and waits until it has set them up.
func (l Layout) hold(command []string, flags uintptr, log string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	ready, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := &exec.Cmd{Path: self, Args: command, Dir: "/", Env: l.environment(), Stdout: out, Stderr: out, ExtraFiles: []*os.File{tell}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: flags}
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return fmt.Errorf("new namespaces (only root can make them): %w", err)
	}
	go cmd.Wait() // collected, should it end before this program does
	said, err := io.ReadAll(ready)
	if err != nil {
		return err
	}
	if string(said) != readyWord {
		return fmt.Errorf("%s: %s", strings.Join(command, " "), strings.TrimSpace(string(said)))
	}
	return nil
}

const (
	machineFlags = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC
	nodeFlags    = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	readyWord    = "ready\n"
)

// holdMain is the life of a holder: to set up, to say so on file 3, and to collect the processes that lose their parent.
func holdMain(setUp func() error) {
	// Before the first child: a signal that comes while nobody listens is lost.
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	tell := os.NewFile(3, "ready")
	syscall.CloseOnExec(3)
	word := readyWord
	err := setUp()
	if err != nil {
		word = err.Error()
	}
	if _, werr := tell.WriteString(word); err != nil || werr != nil {
		os.Exit(1)
	}
	tell.Close()
	for {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		<-children
	}
}

// setUpMachine makes the network and the private directories of the machine.
func setUpMachine(Layout) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := mountOwn(); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1\n"), 0o644); err != nil {
		return err
	}
	// The kernel has one sysfs for a network, with the options of its first mount. That would be the read-only one of a container,
	// and /sys of a privileged pod with hostNetwork read-only, which it isn't on a machine.
	if err := os.Mkdir("/run/sysfs", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/run/sysfs", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("/run/sysfs: %w", err)
	}
	// One end of a cable has the addresses. The other end only keeps it up; a way out must exist for the programs
	// that choose an address by it.
	steps := []string{
		"link set lo up",
		"link add machine0 type veth peer name machine1",
		"link set machine1 up",
		"link set machine0 up",
		"address add " + machineAddress + "/24 dev machine0",
	}
	for _, n := range nodes {
		steps = append(steps, "address add "+n.Address+"/24 dev machine0")
	}
	steps = append(steps, "route add default via 10.99.0.254 dev machine0")
	for _, s := range steps {
		if out, err := exec.Command("ip", strings.Fields(s)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", s, err, out)
		}
	}
	return nil
}

// setUpNode makes what a node has for itself. Its mounts are shared, as they are on a machine that systemd has started: what a
// pod mounts with Bidirectional propagation is the node's, and that of its other pods.
func setUpNode(l Layout, n Node) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Sethostname([]byte(n.Name)); err != nil {
		return err
	}
	if err := mountOwn(); err != nil {
		return err
	}
	for own, place := range map[string]string{"lib": "/var/lib", "log": "/var/log"} {
		if err := os.MkdirAll(l.node(n, own), 0o755); err != nil {
			return err
		}
		if err := unix.Mount(l.node(n, own), place, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
	}
	for name := range kubeletSysctls {
		if err := unix.Mount(l.node(n, "sysctl", name), "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("/proc/sys/%s: %w", name, err)
		}
	}
	// Mounts of their own, so that they can be given to pods with propagation and without all the rest.
	for _, dir := range []string{kubeletDir, "/var/lib/strata", "/run/strata"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("shared mounts: %w", err)
	}
	return nil
}

// mountOwn gives a namespace its own /proc and /run.
func mountOwn() error {
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("/run: %w", err)
	}
	for _, dir := range []string{"/run/lock", "/run/lock/lvm"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}
