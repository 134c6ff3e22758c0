//go:build e2e

package main

// Machines beside other tests would disturb them: losetup takes the loop device that another one is about to take, and who looks for its own
// has to open all of them. So make e2e runs these.

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newMachine makes a machine with both nodes and none of the daemons.
func newMachine(t *testing.T) Layout {
	t.Helper()
	l := Layout{Root: t.TempDir(), Dir: filepath.Join(t.TempDir(), "cluster")}
	t.Cleanup(func() {
		if err := destroy(context.Background(), l, newProgress(io.Discard)); err != nil {
			t.Error(err)
		}
	})
	if err := l.writeMarker(marker{}); err != nil {
		t.Fatal(err)
	}
	if err := writeConfigs(l); err != nil {
		t.Fatal(err)
	}
	if err := makeCgroups(l); err != nil {
		t.Fatal(err)
	}
	if err := l.hold(l.machineCommand(), machineFlags, l.Log("machine")); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if err := l.startNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// shell runs a script in the machine or a node.
func shell(t *testing.T, l Layout, node, script string) string {
	t.Helper()
	command, err := l.enter(node, "/")
	if err != nil {
		t.Fatal(err)
	}
	command = append(command, "sh", "-euc", script)
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestNodesHaveTheirOwnWorld(t *testing.T) {
	l := newMachine(t)
	for _, n := range nodes {
		if got := shell(t, l, n.Name, "hostname"); got != n.Name {
			t.Errorf("host name %s, want %s", got, n.Name)
		}
		if got := shell(t, l, n.Name, "echo $$ > /run/own; echo "+n.Name+" > /var/lib/kubelet/own; findmnt -n -o PROPAGATION /var/lib/kubelet"); got != "shared" {
			t.Errorf("%s is %s, want shared", kubeletDir, got)
		}
		// The kubelet would set it for the whole machine if it didn't find what it wants.
		if got := shell(t, l, n.Name, "cat /proc/sys/kernel/panic"); got != "10" {
			t.Errorf("kernel.panic is %s on %s", got, n.Name)
		}
	}
	if got := shell(t, l, "node-a", "cat /var/lib/kubelet/own"); got != "node-a" {
		t.Errorf("node-a reads %s", got)
	}
	addresses := shell(t, l, "", "ip -o -4 address")
	for _, a := range []string{"127.0.0.1/8", machineAddress + "/24", nodes[0].Address + "/24", nodes[1].Address + "/24"} {
		if !strings.Contains(addresses, a) {
			t.Errorf("no %s in %s", a, addresses)
		}
	}
	// One node hears of the other's mounts as little as this machine does.
	shell(t, l, "node-a", "mkdir /var/lib/strata/m; mount -t tmpfs only-on-node-a /var/lib/strata/m; touch /var/lib/strata/m/here")
	if got := shell(t, l, "node-a", "ls /var/lib/strata/m"); got != "here" {
		t.Errorf("%q on the node that has the mount", got)
	}
	for where, got := range map[string]string{"the other node": shell(t, l, "node-b", "cat /proc/mounts"), "the machine": shell(t, l, "", "cat /proc/mounts"), "outside": readMounts(t)} {
		if strings.Contains(got, "only-on-node-a") {
			t.Errorf("%s has node-a's mount", where)
		}
	}
}

func readMounts(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheMachinesEndIsTheEndOfAll(t *testing.T) {
	l := newMachine(t)
	// A file below the directory by another name, and a process with a command line that nobody else has.
	running := []string{"sleep", "86417.25"}
	stack := shell(t, l, "node-a", `truncate -s 16M /var/lib/disk
		mkfs.ext4 -q /var/lib/disk
		mkdir /run/mounted
		below=$(losetup --find --show /var/lib/disk)
		mount $below /run/mounted
		truncate -s 1M /run/mounted/volume
		volume=$(losetup --find --show /run/mounted/volume)
		above=$(losetup --find --show $volume)
		setsid `+strings.Join(running, " ")+` < /dev/null > /dev/null 2>&1 &
		echo $below $volume $above`)
	devices := strings.Fields(stack)
	if found, err := loopsOf(l.Dir); err != nil || !slices.Equal(found, devices) {
		t.Fatalf("found %v, %v, want %v", found, err, devices)
	}
	h, ok, err := grab(l.machineCommand())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	defer h.release()
	if err := h.send(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := h.wait(t.Context(), "machine"); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{l.nodeCommand(nodes[0]), l.nodeCommand(nodes[1]), running} {
		if pids, err := findProcesses(command); err != nil || len(pids) > 0 {
			t.Errorf("%q: %v, %v", command, pids, err)
		}
	}
	if err := destroy(t.Context(), l, newProgress(io.Discard)); err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if l, ok, err := readLoop(filepath.Base(d)); ok || err != nil {
			t.Errorf("%s is attached: %+v, %v", d, l, err)
		}
	}
	roots, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range roots {
		if _, err := os.Stat(filepath.Join(path, l.cgroup())); !os.IsNotExist(err) {
			t.Errorf("%s%s: %v", path, l.cgroup(), err)
		}
	}
	if _, err := os.Stat(l.Dir); !os.IsNotExist(err) {
		t.Errorf("%s: %v", l.Dir, err)
	}
}
