package coldfs_test

import (
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
)

// impossible are the tests of posixtest that can't pass here, and why. TestWhatIsRefused has what happens instead.
var impossible = map[string]string{
	"Link":                "an object has one key",
	"LinkUnlinkRename":    "an object has one key",
	"FallocateKeepSize":   "room can't be had in advance",
	"FcntlFlockLocksFile": "locks are the kernel's own, for which those of one process don't exclude each other",
}

func TestPosix(t *testing.T) { posix(t, coldfstest.Options{}) }

// Every file, however small, is read by the kernel itself once it is whole.
func TestPosixOfWhatTheKernelReads(t *testing.T) {
	posix(t, coldfstest.Options{Config: immutable})
}

func posix(t *testing.T, o coldfstest.Options) {
	v := mount(t, o)
	for name := range impossible {
		if posixtest.All[name] == nil {
			t.Errorf("there is no test %s to be left out", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		if impossible[name] != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := v.Path(name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			posixtest.All[name](t, dir)
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	file := v.Path("file")
	if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.Path("other"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	for _, c := range []struct {
		name string
		got  error
		want error
	}{
		{"link", unix.Link(file, v.Path("link")), unix.EPERM},
		{"a device", unix.Mknod(v.Path("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))), unix.EPERM},
		{"a pipe", unix.Mkfifo(v.Path("pipe"), 0o600), unix.EPERM},
		{"a socket", unix.Mknod(v.Path("socket"), unix.S_IFSOCK|0o600, 0), unix.EPERM},
		{"setting an extended attribute", unix.Setxattr(file, "user.a", []byte("b"), 0), unix.EOPNOTSUPP},
		{"reserving room", unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20), unix.EOPNOTSUPP},
		{"punching a hole", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4), unix.EOPNOTSUPP},
		{"a file without a name", func() error {
			_, err := unix.Open(v.Dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
			return err
		}(), unix.EOPNOTSUPP},
		{"exchanging two names", unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, v.Path("other"), unix.RENAME_EXCHANGE), unix.EINVAL},
		{"the driver's own name", os.Mkdir(v.Path(".strata"), 0o755), unix.EPERM},
		{"the driver's own name for a file", os.WriteFile(v.Path(".strata"), nil, 0o644), unix.EPERM},
		{"renaming to the driver's own name", os.Rename(file, v.Path(".strata")), unix.EPERM},
		{"looking at the driver's own name", func() error { _, err := os.Stat(v.Path(".strata")); return err }(), unix.ENOENT},
		{"a name that isn't text", os.WriteFile(v.Path("a\xff"), nil, 0o644), unix.EINVAL},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
		}
	}
}
