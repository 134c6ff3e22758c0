package coldfs

// The process of an engine holds a credential, which nobody else on the node is to see.

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Seal makes the process's memory unreadable: no core file, and no /proc entries for other processes of its user. A program calls it before it reads a credential.
func Seal() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide the process's memory: %w", err)
	}
	return nil
}
