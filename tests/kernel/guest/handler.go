package main

// What the agent does when asked.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/tests/kernel/agent"
)

type handler struct {
	forwarder *forwarder

	mu        sync.Mutex
	processes map[string]*process
}

// process is a program that goes on running.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it ended
	code int
}

func newHandler(f *forwarder) http.Handler {
	h := &handler{forwarder: f, processes: make(map[string]*process)}
	mux := http.NewServeMux()
	for path, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		agent.PathExec:     h.exec,
		agent.PathFile:     h.file,
		agent.PathStart:    h.start,
		agent.PathSignal:   h.signal,
		agent.PathWait:     h.wait,
		agent.PathNetwork:  h.network,
		agent.PathPowerOff: h.powerOff,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := serve(w, r); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	mux.HandleFunc(agent.PathDial, dialUnix)
	return mux
}

func command(r *http.Request) (agent.Command, error) {
	var c agent.Command
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		return c, err
	}
	if len(c.Args) == 0 {
		return c, errors.New("no program named")
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	return c, nil
}

func (h *handler) exec(w http.ResponseWriter, r *http.Request) error {
	c, err := command(r)
	if err != nil {
		return err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(r.Context(), c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Stdin), &stdout, &stderr
	code, err := exitCode(cmd.Run())
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(agent.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: code})
}

// exitCode turns the error of a program's end into its code; other errors stay.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return 128 + int(s.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

func (h *handler) file(w http.ResponseWriter, r *http.Request) error {
	name := r.FormValue("path")
	if r.Method == http.MethodPut {
		mode, err := strconv.ParseUint(r.FormValue("mode"), 8, 12)
		if err != nil {
			return fmt.Errorf("mode: %w", err)
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, os.FileMode(mode))
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r.Body)
		return errors.Join(err, f.Close())
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func (h *handler) start(_ http.ResponseWriter, r *http.Request) error {
	c, err := command(r)
	if err != nil {
		return err
	}
	name := r.FormValue("name")
	h.mu.Lock()
	defer h.mu.Unlock()
	if p, ok := h.processes[name]; ok {
		select {
		case <-p.done:
		default:
			return fmt.Errorf("%s is running already", name)
		}
	}
	log, err := os.OpenFile(agent.LogPath(filepath.Base(name)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p := &process{cmd: exec.Command(c.Args[0], c.Args[1:]...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	h.processes[name] = p
	go func() {
		defer close(p.done)
		code, err := exitCode(p.cmd.Wait())
		if err != nil {
			code = -1
		}
		p.code = code
	}()
	return nil
}

func (h *handler) process(r *http.Request) (*process, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.processes[r.FormValue("name")]
	if !ok {
		return nil, fmt.Errorf("%q was not started", r.FormValue("name"))
	}
	return p, nil
}

func (h *handler) signal(_ http.ResponseWriter, r *http.Request) error {
	p, err := h.process(r)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(r.FormValue("signal"))
	if err != nil {
		return err
	}
	return p.cmd.Process.Signal(unix.Signal(n))
}

func (h *handler) wait(w http.ResponseWriter, r *http.Request) error {
	p, err := h.process(r)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		return json.NewEncoder(w).Encode(agent.Result{Code: p.code})
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

func (h *handler) network(_ http.ResponseWriter, r *http.Request) error {
	return h.forwarder.set(r.FormValue("state"))
}

// syncTime is how long the file systems may take to write out before the machine turns off without it. A Ceph client that was evicted with
// something to write never ends.
const syncTime = 15 * time.Second

// powerOff lets the Ceph client close its sessions first: a session that ends
// with its machine holds its capabilities until the metadata server gives it up,
// and every other client of the volume waits that long.
func (h *handler) powerOff(_ http.ResponseWriter, _ *http.Request) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && (f[2] == "ceph" || strings.HasPrefix(f[2], "fuse")) {
			_ = unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
	synced := make(chan struct{})
	go func() {
		unix.Sync()
		close(synced)
	}()
	select {
	case <-synced:
	case <-time.After(syncTime): // a client that was evicted, and what it holds nobody wants any more
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
