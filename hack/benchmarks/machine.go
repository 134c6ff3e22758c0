// Package benchmarks has what the programs that measure share: what the figures depend on, and the parts of the page docs/benchmarks.md, of which
// each program writes its own.
package benchmarks

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what figures depend on, name and value.
type Machine [][2]string

// Describe says what all figures depend on: this machine, then more, then the version of the checkout in root. What can't be found out
// stands as the error.
func Describe(root string, more ...[2]string) Machine {
	var system unix.Utsname
	_ = unix.Uname(&system)
	var memory unix.Sysinfo_t
	_ = unix.Sysinfo(&memory)
	all := Machine{
		{"processors", fmt.Sprintf("%d × %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name", ":"))},
		{"memory", fmt.Sprintf("%d GiB", (memory.Totalram*uint64(memory.Unit)+1<<29)>>30)},
		{"kernel", string(bytes.TrimRight(system.Release[:], "\x00"))},
		{"system", strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`)},
	}
	return append(append(all, more...), [2]string{"Strata", Tool("git", "-C", root, "describe", "--tags", "--always", "--dirty")})
}

// Markdown is a table of it.
func (m Machine) Markdown() string {
	var b strings.Builder
	b.WriteString("| | |\n|---|---|\n")
	for _, l := range m {
		fmt.Fprintf(&b, "| %s | %s |\n", l[0], l[1])
	}
	return b.String()
}

// Tool is what a command says of itself.
func Tool(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

// field is the first value of a name in a file of lines "name: value", or with another separator.
func field(path, name, separator string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, separator); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// LoadAverage is the mean number of processes that wanted to run in the last minute.
func LoadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
