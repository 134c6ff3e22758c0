//go:build lab

package xfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// nobody owns the files of these tests, outside; he has no capability.
const nobody = 65534

// leaveArgument makes the test program the owner of a file who changes its project: the argument after it is the number.
const leaveArgument = "leave-project"

// leave changes the project of the file that is open as descriptor 3, and exits with the error's number.
func leave(project string) int {
	id, err := strconv.ParseUint(project, 10, 32)
	if err != nil {
		return 255
	}
	f := os.NewFile(3, "file")
	a, err := projectquota.GetAttr(f)
	if err == nil {
		a.Project = uint32(id)
		err = projectquota.SetAttr(f, a)
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return int(errno)
	}
	if err != nil {
		return 255
	}
	return 0
}

// asOwner runs leave as the owner of f, in a user namespace of his own or not.
func asOwner(t *testing.T, f *os.File, project uint32, userNamespace bool) unix.Errno {
	t.Helper()
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/fd/4", leaveArgument, fmt.Sprint(project))
	cmd.ExtraFiles = []*os.File{f, program}
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if userNamespace {
		// As kubelet does for hostUsers: false; the owner is even root there.
		one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: one, GidMappings: one,
			Credential: &syscall.Credential{Uid: 0, Gid: 0}}
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() == 255 || cmd.ProcessState.ExitCode() < 0 {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	return unix.Errno(cmd.ProcessState.ExitCode())
}

// TestOwnerLeaves holds what the package documents against the kernel: an owner without capabilities can leave his volume's
// limit, and take his neighbour's; in a user namespace he can't.
func TestOwnerLeaves(t *testing.T) {
	d := openDisk(t, quotaDir(t))
	path, neighbour := mounted(t, d, "mine", 16<<20), mounted(t, d, "theirs", 16<<20)
	for _, p := range []string{path, neighbour} {
		if err := os.Chown(p, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	own, err := d.volume("mine")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := d.volume("theirs")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) *os.File {
		t.Helper()
		f, err := os.Create(filepath.Join(path, name))
		if err == nil {
			err = f.Chown(nobody, nobody)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}

	kept := file("kept")
	for _, project := range []uint32{0, theirs} {
		if errno := asOwner(t, kept, project, true); errno != unix.EINVAL {
			t.Errorf("in a user namespace, to project %d: %v, want EINVAL", project, errno)
		}
	}
	if a, err := projectquota.GetAttr(kept); err != nil || a.Project != own {
		t.Fatalf("the file has %+v, %v; the volume %d", a, err, own)
	}

	left := file("left")
	if errno := asOwner(t, left, 0, false); errno != 0 {
		t.Fatalf("an owner couldn't leave: %v; the package says he can", errno)
	}
	if n, err := left.Write(make([]byte, 24<<20)); err != nil {
		t.Errorf("of 24 MiB beside a limit of 16 MiB %d were written: %v", n, err)
	}
	if u, err := d.Usage(t.Context(), "mine", path); err != nil || u.UsedBytes > 1<<20 {
		t.Errorf("what left still counts: %+v, %v", u, err)
	}

	taken := file("taken")
	if errno := asOwner(t, taken, theirs, false); errno != 0 {
		t.Fatalf("an owner couldn't change to his neighbour's project: %v", errno)
	}
	if _, err := taken.Write(make([]byte, 12<<20)); err != nil {
		t.Error(err)
	}
	if u, err := d.Usage(t.Context(), "theirs", neighbour); err != nil || u.AvailableBytes > 4<<20 {
		t.Errorf("the neighbour has %+v, %v", u, err)
	}

	// Leaving with the root directory is seen, and changes nothing about what is counted and cleared in the end.
	if c, err := d.Health(t.Context(), "mine", path); err != nil || len(c) > 0 {
		t.Errorf("health: %+v, %v", c, err)
	}
	root, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if errno := asOwner(t, root, theirs, false); errno != 0 {
		t.Fatal(errno)
	}
	c, err := d.Health(t.Context(), "mine", path)
	if err != nil || len(c) != 1 || c[0].Reason != ReasonLeft || !strings.Contains(c[0].Message, "delete the pod") {
		t.Errorf("health: %+v, %v", c, err)
	}
	if err := errors.Join(root.Close(), left.Close(), taken.Close(), kept.Close(), unix.Unmount(path, 0)); err != nil {
		t.Fatal(err)
	}
	if err := d.Destroy(t.Context(), "mine", disk.WipeNone); err != nil {
		t.Fatal(err)
	}
	if u, err := d.quota.Usage(theirs); err != nil || u.Limits.Bytes != 16<<20 {
		t.Errorf("destroying a volume that claimed to be its neighbour left the neighbour with %+v, %v", u, err)
	}
	cleared(t, d, own)
}
