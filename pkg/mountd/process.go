package mountd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// startTime is the id of the node's boot and field 22 of /proc/PID/stat, the ticks from the boot to the start of the process (proc(5));
// "" when there is no such process. The ticks alone may be the same for another process after a reboot, which the records survive.
func startTime(pid int) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field is the program's name in parentheses, which may hold anything.
	_, rest, ok := strings.Cut(string(raw), ") ")
	if i := strings.LastIndex(string(raw), ") "); i >= 0 {
		rest, ok = string(raw)[i+2:], true
	}
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19]
}

// watchEnd returns a descriptor that becomes readable when the process ends, or an error when it isn't the one that was meant.
func watchEnd(pid int, started string) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, err
	}
	// Looked at after the descriptor was opened: it can't have become another process since.
	if startTime(pid) != started {
		_ = unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// waitEnd waits until the process of the descriptor has ended.
func waitEnd(fd int) {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err != unix.EINTR {
			return
		}
	}
}

// findWords looks for the process of a mount that was started and not recorded any more, by its mountpoint: the last word of
// its command line, which is returned with it. 0: there is none.
func findWords(binary, mountpoint string) (pid int, words []string) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return 0, nil
	}
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("/proc", p.Name(), "cmdline"))
		if err != nil {
			continue
		}
		words := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
		if len(words) > 2 && filepath.Base(words[0]) == filepath.Base(binary) && words[len(words)-1] == mountpoint {
			return pid, words
		}
	}
	return 0, nil
}
