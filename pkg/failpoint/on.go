//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Enabled says whether the program was built with the tag "failpoint".
const Enabled = true

const (
	variable      = "STRATA_FAILPOINT"
	traceVariable = "STRATA_FAILPOINT_TRACE"
)

// trace is the file that the names of all passed steps are appended to, one a line, or nil.
var trace = sync.OnceValue(func() *os.File {
	path := os.Getenv(traceVariable)
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return f
})

// target is read once: the point is the same for the whole life of the process.
var target = sync.OnceValue(func() *point {
	p, err := parse(os.Getenv(variable))
	if err != nil {
		// A test with a wrong setting must not pass for want of a crash.
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return p
})

type point struct {
	name string
	left atomic.Int64 // hits until death
}

// parse reads "name" or "name=N"; an empty text names no point.
func parse(s string) (*point, error) {
	name, count, counted := strings.Cut(s, "=")
	p := &point{name: name}
	p.left.Store(1)
	if counted {
		n, err := strconv.ParseInt(count, 10, 32)
		if err != nil || n < 1 || name == "" {
			return nil, fmt.Errorf("%s=%q: must be NAME or NAME=N with N at least 1", variable, s)
		}
		p.left.Store(n)
	}
	return p, nil
}

// Hit kills the process with SIGKILL when STRATA_FAILPOINT names this step and it is passed for the asked time.
func Hit(name string) {
	if f := trace(); f != nil {
		_, _ = f.WriteString(name + "\n")
	}
	p := target()
	if p.name != name || p.left.Add(-1) != 0 {
		return
	}
	fmt.Fprintf(os.Stderr, "failpoint %s: the process kills itself\n", name)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	// The signal ends the process before it can go a step further than its victim would have.
	select {}
}
