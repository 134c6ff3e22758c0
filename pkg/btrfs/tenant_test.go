package btrfs_test

// What somebody without any privilege can do: the test binary once more, as nobody, in a directory that it is given.

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const tenantVariable = "STRATA_BTRFS_TENANT"

func TestMain(m *testing.M) {
	what, ok := os.LookupEnv(tenantVariable)
	if !ok {
		os.Exit(m.Run())
	}
	if err := unix.Fchdir(3); err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(acts[what]()); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// act is what a tenant does: errors by name, and how much it could write.
type act struct {
	Errors  map[string]syscall.Errno
	Written int64
}

var acts = map[string]func() act{
	"nested": func() act {
		a := act{Errors: map[string]syscall.Errno{"create": subvolume(".", "nested", false)}}
		a.Written, a.Errors["write"] = fill("nested/data")
		return a
	},
	"empty list": func() act {
		a := act{Errors: map[string]syscall.Errno{"create": subvolume(".", "nested", true)}}
		a.Written, a.Errors["write"] = fill("nested/data")
		return a
	},
	"groups": func() act {
		return act{Errors: map[string]syscall.Errno{
			"create": raw(".", 1<<30|16<<16|0x942a, words(1, 1<<48|999)),
			"remove": raw(".", 1<<30|16<<16|0x942a, words(0, 1<<48|256)),
			"assign": raw(".", 1<<30|24<<16|0x9429, words(0, 256, 1<<48|256)),
			"limit":  raw(".", 2<<30|48<<16|0x942b, words(1<<48|256, 1, 1<<40, 0, 0, 0)),
			"quota":  raw(".", 3<<30|16<<16|0x9428, words(2, 0)),
		}}
	},
}

const limit, tooMuch = 32 << 20, 96 << 20

func fill(name string) (int64, syscall.Errno) {
	f, err := os.Create(name)
	if err != nil {
		return 0, number(err)
	}
	defer f.Close()
	var n int64
	for block := make([]byte, 1<<20); n < tooMuch; {
		w, err := f.Write(block)
		n += int64(w)
		if err != nil {
			return n, number(err)
		}
	}
	return n, number(f.Sync())
}

func number(err error) syscall.Errno {
	var n syscall.Errno
	if err != nil && !errors.As(err, &n) {
		panic(err)
	}
	return n
}

func words(values ...uint64) []byte {
	var b []byte
	for _, v := range values {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

func raw(dir string, nr uintptr, arg []byte) syscall.Errno {
	f, err := os.Open(dir)
	if err != nil {
		return number(err)
	}
	defer f.Close()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), nr, uintptr(unsafe.Pointer(&arg[0])))
	return errno
}

// subvolume makes one with BTRFS_IOC_SUBVOL_CREATE_V2, with a list of no groups when told to.
func subvolume(dir, name string, list bool) syscall.Errno {
	inherit := make([]byte, 72)
	arg := make([]byte, 4096)
	if list {
		copy(arg[16:], words(1<<2, uint64(len(inherit)), uint64(uintptr(unsafe.Pointer(&inherit[0])))))
	}
	copy(arg[56:], name)
	errno := raw(dir, 1<<30|4096<<16|0x9418, arg)
	inherit[0] = 0 // it had to live until here
	return errno
}

// tenant does an act as nobody.
func tenant(t *testing.T, dir, what string) act {
	t.Helper()
	d, err := os.Open(dir)
	check(t, err)
	defer d.Close()
	self, err := os.Executable()
	check(t, err)
	program, err := os.Open(self)
	check(t, err)
	defer program.Close()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/4", "-test.run=^$")
	cmd.Env, cmd.Dir, cmd.ExtraFiles = []string{tenantVariable + "=" + what}, "/", []*os.File{d, program}
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var a act
	if err := errors.Join(cmd.Run(), json.Unmarshal(out.Bytes(), &a)); err != nil {
		t.Fatalf("the tenant: %v\n%s", err, errs.Bytes())
	}
	return a
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deep makes directories one in another until their path is longer than the kernel takes, and a subvolume at the end.
func deep(dir *os.File, name string) error {
	at, err := unix.Dup(int(dir.Fd()))
	if err != nil {
		return err
	}
	long := string(bytes.Repeat([]byte("d"), 250))
	for range 20 {
		if err := unix.Mkdirat(at, long, 0o755); err != nil {
			return err
		}
		next, err := unix.Openat(at, long, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err := errors.Join(err, unix.Close(at)); err != nil {
			return err
		}
		at = next
	}
	f := os.NewFile(uintptr(at), "the deepest directory")
	defer f.Close()
	return create(f, name)
}

func create(dir *os.File, name string) error {
	arg := make([]byte, 4096)
	copy(arg[8:], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), 1<<30|4096<<16|0x940e, uintptr(unsafe.Pointer(&arg[0])))
	if errno != 0 {
		return fmt.Errorf("make subvolume %s: %w", filepath.Join(dir.Name(), name), errno)
	}
	return nil
}
