package mountd

// A control group of its own for each engine, so that one that takes more memory than it should ends alone and not its neighbours. Where none can be made, the
// engine's garbage collector has a limit still.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// MemoryRoom is how much more than its garbage collector's limit the control group of an engine allows, in bytes: the group is charged for the pages of the cache
// files that the engine has just written, too, and the kernel needs some of them until the disk has taken them.
const MemoryRoom = 512 << 20

// groupPrefix begins the names of the engines' groups.
const groupPrefix = "strata-coldfs-"

// memoryGroup is the control group of one engine; the zero one is none.
type memoryGroup struct {
	dir  string
	into *os.File // version 2: processes are started in it
}

// newMemoryGroup makes a group below that of this process.
func newMemoryGroup(name string, limit int64) (memoryGroup, error) {
	base, unified, err := memoryBase()
	if err != nil {
		return memoryGroup{}, err
	}
	g := memoryGroup{dir: filepath.Join(base, groupPrefix+name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return memoryGroup{}, err
	}
	file := "memory.limit_in_bytes"
	if unified {
		file = "memory.max"
	}
	err = os.WriteFile(filepath.Join(g.dir, file), []byte(strconv.FormatInt(limit, 10)), 0)
	if err == nil && unified {
		g.into, err = os.Open(g.dir)
	}
	if err != nil {
		return memoryGroup{}, errors.Join(err, g.remove())
	}
	return g, nil
}

// prepare has a process start in the group, where the kernel can do that.
func (g memoryGroup) prepare(a *syscall.SysProcAttr) {
	if g.into != nil {
		a.UseCgroupFD, a.CgroupFD = true, int(g.into.Fd())
	}
}

// started puts the process into the group where it couldn't start there. It is at its very beginning and has nothing yet.
func (g *memoryGroup) started(cmd *exec.Cmd) {
	if g.into != nil {
		_ = g.into.Close()
		g.into = nil
		return
	}
	if g.dir != "" && cmd.Process != nil {
		_ = os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0)
	}
}

// remove removes the group, whose processes have ended.
func (g memoryGroup) remove() error {
	if g.dir == "" {
		return nil
	}
	if err := unix.Rmdir(g.dir); err != nil && err != unix.ENOENT {
		return fmt.Errorf("rmdir %s: %w", g.dir, err)
	}
	return nil
}

// adoptedGroup is the group of an engine that an earlier holder has started in the same place.
func adoptedGroup(name string) memoryGroup {
	base, _, err := memoryBase()
	if err != nil {
		return memoryGroup{}
	}
	return memoryGroup{dir: filepath.Join(base, groupPrefix+name)}
}

// leaf is where the holder itself goes in version 2, where a group that limits its children may have no process of its own (cgroups(7), "no internal processes").
const leaf = "strata-mountd"

// memoryBase is the directory below which groups can be made, and whether it is of version 2.
func memoryBase() (dir string, unified bool, err error) {
	table, err := mountpoint.Read()
	if err != nil {
		return "", false, err
	}
	raw, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", false, err
	}
	for line := range strings.Lines(string(raw)) {
		// HIERARCHY:CONTROLLERS:PATH; version 2 has 0 and no controllers (cgroups(7)).
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) == 3 && slices.Contains(strings.Split(fields[1], ","), "memory") {
			if at, ok := below(table, fields[2], func(m mountpoint.Mount) bool {
				return m.FSType == "cgroup" && slices.Contains(m.SuperOptions, "memory")
			}); ok {
				return at, false, nil
			}
		}
	}
	for line := range strings.Lines(string(raw)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			if at, ok := below(table, path, func(m mountpoint.Mount) bool { return m.FSType == "cgroup2" }); ok {
				return unifiedBase(at)
			}
		}
	}
	return "", false, errors.New("no control groups for memory are mounted")
}

// below is the directory of a group in the mount that shows its hierarchy.
func below(table mountpoint.Table, path string, is func(mountpoint.Mount) bool) (string, bool) {
	for _, m := range table {
		if !is(m) {
			continue
		}
		if m.Root == "/" {
			return filepath.Join(m.Path, path), true
		}
		if rest, ok := strings.CutPrefix(path, m.Root); ok && (rest == "" || rest[0] == '/') {
			return filepath.Join(m.Path, rest), true
		}
	}
	return "", false
}

// unifiedBase makes a group fit for children. The group of a systemd service isn't changed: systemd could not start the service in it again.
func unifiedBase(own string) (string, bool, error) {
	base := own
	if filepath.Base(own) == leaf {
		base = filepath.Dir(own)
	}
	if strings.HasSuffix(base, ".service") {
		return "", false, fmt.Errorf("%s is systemd's; limit the service as a whole with MemoryMax", base)
	}
	control := filepath.Join(base, "cgroup.subtree_control")
	has, err := os.ReadFile(control)
	if err != nil {
		return "", false, err
	}
	if slices.Contains(strings.Fields(string(has)), "memory") {
		return base, true, nil
	}
	err = os.WriteFile(control, []byte("+memory"), 0)
	if errors.Is(err, unix.EBUSY) {
		if err := os.Mkdir(filepath.Join(base, leaf), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", false, err
		}
		if err := os.WriteFile(filepath.Join(base, leaf, "cgroup.procs"), []byte("0"), 0); err != nil {
			return "", false, err
		}
		err = os.WriteFile(control, []byte("+memory"), 0)
	}
	if err != nil {
		return "", false, err
	}
	return base, true, nil
}
