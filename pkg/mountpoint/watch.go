package mountpoint

// This file waits for the mount table to change.

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Changes tells of changes of the mount table of this process' namespace. Close it.
type Changes struct {
	// C receives after every change since Watch; several changes may be told of once.
	C <-chan struct{}

	end  int // the write end of a pipe whose end of file ends the watch
	once sync.Once
}

// Watch tells of every change of the mount table from now on: a table that is read afterwards and doesn't show what is waited
// for is followed by a word on C when it does. The kernel wakes who polls the table for POLLPRI (proc_pid_mounts(5)).
func Watch() (*Changes, error) {
	table, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("watch mount table: %w", err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		_ = unix.Close(table)
		return nil, fmt.Errorf("watch mount table: %w", err)
	}
	c := make(chan struct{}, 1)
	go func() {
		defer unix.Close(table)
		defer unix.Close(pipe[0])
		for {
			fds := []unix.PollFd{{Fd: int32(table), Events: unix.POLLPRI}, {Fd: int32(pipe[0]), Events: unix.POLLIN}}
			_, err := unix.Poll(fds, -1)
			if err != nil && err != unix.EINTR || fds[1].Revents != 0 {
				return
			}
			if fds[0].Revents != 0 {
				select {
				case c <- struct{}{}:
				default: // one is waiting
				}
			}
		}
	}()
	return &Changes{C: c, end: pipe[1]}, nil
}

// Close ends the watch. Closing twice is harmless.
func (w *Changes) Close() {
	w.once.Do(func() { _ = unix.Close(w.end) })
}
