package lab

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/tests/kernel/agent"
)

func TestMachineLivesAndDies(t *testing.T) {
	dir := t.TempDir()
	disk := Disk{Image: filepath.Join(dir, "disk,1"), Serial: "s1"}
	if err := os.WriteFile(disk.Image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk.Image, 64<<20); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: dir, Disks: []Disk{disk}, Modules: []string{"nvme"}}
	start := time.Now()
	m, err := Boot(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Kill() })
	t.Logf("booted in %s", time.Since(start).Round(time.Millisecond))

	r, err := m.Exec(t.Context(), agent.Command{Args: []string{"sh", "-c", "cat; echo $X >&2; exit 7"}, Stdin: []byte("hello"), Env: []string{"X=y"}})
	if err != nil || string(r.Stdout) != "hello" || string(r.Stderr) != "y\n" || r.Code != 7 {
		t.Errorf("exec: %+v, %v", r, err)
	}
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if err := m.WriteFile(t.Context(), "/tmp/f", bytes.NewReader(want), 0o640); err != nil {
		t.Fatal(err)
	}
	if got, err := m.ReadFile(t.Context(), "/tmp/f"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("file came back as %d bytes, %v", len(got), err)
	}
	if _, err := m.ReadFile(t.Context(), "/nosuch"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing file: %v", err)
	}
	if out, err := m.Run(t.Context(), "sh", "-c", "modprobe nvme && cat /sys/block/nvme0n1/device/serial && printf strata | dd of=/dev/nvme0n1 conv=fsync 2>&1"); err != nil || !strings.Contains(out, "s1") {
		t.Errorf("disk: %q, %v", out, err)
	}
	if err := m.Start(t.Context(), "job", agent.Command{Args: []string{"sh", "-c", "echo begun; sleep 1000"}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Signal(t.Context(), "job", 9); err != nil {
		t.Fatal(err)
	}
	if code, err := m.Wait(t.Context(), "job"); err != nil || code != 137 {
		t.Errorf("job: exit code %d, %v", code, err)
	}

	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Run(t.Context(), "true"); err == nil {
		t.Error("a machine without power answered")
	}
	m, err = Boot(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Kill() })
	if out, err := m.Run(t.Context(), "sh", "-c", "modprobe nvme && head -c 6 /dev/nvme0n1"); err != nil || out != "strata" {
		t.Errorf("disk after a power cut: %q, %v", out, err)
	}
	if faults, err := m.Faults(); err != nil || len(faults) > 0 {
		t.Errorf("console: %v, %q", err, faults)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestPanicIsSeen(t *testing.T) {
	m, err := Boot(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Kill() })
	if _, err := m.Run(t.Context(), "sh", "-c", "echo c >/proc/sysrq-trigger"); err == nil {
		t.Error("the machine survived")
	}
	<-m.dead
	if faults, err := m.Faults(); err != nil || len(faults) == 0 {
		t.Errorf("the panic was not seen: %v\n%s", err, m.Console())
	}
}

// crashEnv makes TestNothingOutlivesACrash boot a machine, say so and wait for its death.
const crashEnv = "STRATA_LAB_CRASH_DIR"

func TestNothingOutlivesACrash(t *testing.T) {
	if dir := os.Getenv(crashEnv); dir != "" {
		m, err := Boot(t.Context(), Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("qemu", m.cmd.Process.Pid)
		<-m.dead
		t.Fatal(m.exit)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), crashEnv+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	lines := bufio.NewScanner(out)
	for pid == 0 && lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "qemu %d", &pid); err != nil {
			t.Log(lines.Text())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if pid == 0 {
		t.Fatal("no machine was booted")
	}
	for deadline := time.Now().Add(time.Minute); !gone(pid); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives on", pid)
		}
	}
}

// gone tells whether a process has ended; one whose parent has not yet heard of it has.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestDamagedKernelIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("boot/vmlinuz-1", "k")
	if _, err := openKernel(dir); err == nil {
		t.Error("a directory without a manifest was used")
	}
	write(manifestName, `{"Release":"1","SHA256":{"boot/vmlinuz-1":"8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a"}}`)
	if k, err := openKernel(dir); err != nil || k.release != "1" {
		t.Errorf("a good one: %+v, %v", k, err)
	}
	write("boot/vmlinuz-1", "")
	if _, err := openKernel(dir); err == nil {
		t.Error("a truncated kernel was used")
	}
}

func TestCollectModules(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, builtinName), []byte("kernel/drivers/virtio/virtio-pci.ko\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := collectModules(root, []string{"virtio_pci"})
	if err != nil || len(s.order) > 0 {
		t.Errorf("what is part of the kernel: %q, %v", s.order, err)
	}
	if _, err := collectModules(root, []string{"nvme"}); err == nil || !strings.Contains(err.Error(), "nvme") {
		t.Errorf("a module that isn't there: %v", err)
	}
}

func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := newArchive(&b)
	a.text("/a/b/f", "hello")
	a.symlink("/a/l", "b/f")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 || binary.BigEndian.Uint32(b.Bytes()) != 0x30373037 {
		t.Fatalf("%d bytes: %q", b.Len(), b.String())
	}
	if n := strings.Count(b.String(), "070701"); n != 5 { // a, a/b, a/b/f, a/l, trailer
		t.Errorf("%d entries", n)
	}
}
