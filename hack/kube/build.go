package main

// Building Kubernetes out of its modules (hack/kube/kubernetes): all programs of a cluster in one file with links to it, its storage
// tests, and what those need. What is compiled is kept by the go command; what is built, until its sources change.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// silence is how long a compiler may work before we say what it is at.
const silence = 20 * time.Second

// programs are links to the one file; it goes by the name it is called with.
var programs = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"}

// step is one call of the go command.
type step struct {
	output string
	args   []string
}

func buildSteps(version string) []step {
	major, minor := "", ""
	if parts := strings.Split(strings.TrimPrefix(version, "v"), "."); len(parts) > 1 {
		major, minor = parts[0], parts[1]
	}
	const pkg = "k8s.io/component-base/version."
	named := fmt.Sprintf("-s -w -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s -X %[1]sgitTreeState=clean", pkg, version, major, minor)
	return []step{
		{"kubernetes", []string{"build", "-v", "-trimpath", "-ldflags", named, "."}},
		{"e2e.test", []string{"test", "-c", "-v", "-vet=off", "-trimpath", "-ldflags", "-s -w", "./e2e"}},
		{"agnhost", []string{"build", "-v", "-trimpath", "-ldflags", "-s -w", "k8s.io/kubernetes/test/images/agnhost"}},
		{"ginkgo", []string{"build", "-v", "-trimpath", "-ldflags", "-s -w", "github.com/onsi/ginkgo/v2/ginkgo"}},
	}
}

var versionLine = regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\S+)$`)

// build makes what isn't there.
func build(ctx context.Context, l Layout, say *Progress) error {
	source := filepath.Join(l.Root, "hack", "kube", "kubernetes")
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return err
	}
	match := versionLine.FindSubmatch(mod)
	if match == nil {
		return fmt.Errorf("%s/go.mod: requires no k8s.io/kubernetes", source)
	}
	version := string(match[1])
	release, err := lock(ctx, l.Bin()+".lock", "build of "+l.Bin(), say)
	if err != nil {
		return err
	}
	defer release()
	want, err := sourceHash(ctx, source)
	if err != nil {
		return err
	}
	stamp := filepath.Join(l.Bin(), "built-from")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		say.Step("kubernetes %s: built already", version)
		return nil
	}
	if err := os.Remove(stamp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(l.Bin(), 0o755); err != nil {
		return err
	}
	for _, s := range buildSteps(version) {
		say.Step("kubernetes %s: building %s", version, s.output)
		if err := compile(ctx, source, filepath.Join(l.Bin(), s.output), s, say); err != nil {
			return err
		}
	}
	for _, p := range programs {
		link := filepath.Join(l.Bin(), p)
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink("kubernetes", link); err != nil {
			return err
		}
	}
	return writeFile(stamp, []byte(want), 0o644)
}

// sourceHash is over all that decides what comes out: the sources, go.mod and go.sum with the versions, how it
// is built, and the compiler.
func sourceHash(ctx context.Context, source string) (string, error) {
	compiler, err := exec.CommandContext(ctx, "go", "version").Output()
	if err != nil {
		return "", fmt.Errorf("go version: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s%v\n", compiler, buildSteps("v0.0"))
	err = filepath.WalkDir(source, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %x\n", rel, sha256.Sum256(b))
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// compile runs the go command, which prints the name of each package that it compiles. The output replaces the old one in one
// step: a cluster may be running it.
func compile(ctx context.Context, source, output string, s step, say *Progress) error {
	args := slices.Insert(slices.Clone(s.args), slices.Index(s.args, "-trimpath"), "-o", output+".new")
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	var w compilerWatch
	var wg sync.WaitGroup
	wg.Go(func() { w.read(reader) })
	done := make(chan struct{})
	wg.Go(func() {
		t := time.NewTicker(silence)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				say.Step("  ... %s: %s", s.output, w.state())
			}
		}
	})
	err := cmd.Run()
	writer.Close()
	close(done)
	wg.Wait()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, w.messages())
	}
	return os.Rename(output+".new", output)
}

// compilerWatch reads what the go command prints: names of packages, and what is wrong.
type compilerWatch struct {
	mu       sync.Mutex
	compiled int
	last     string
	other    []string
}

func (w *compilerWatch) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		w.mu.Lock()
		if line := lines.Text(); strings.ContainsAny(line, " \t:#") {
			w.other = append(w.other, line)
		} else {
			w.compiled, w.last = w.compiled+1, line
		}
		w.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r) // after a line that was too long
}

func (w *compilerWatch) state() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.compiled == 0 {
		return "looking for what has to be compiled"
	}
	return fmt.Sprintf("%d packages compiled, last %s", w.compiled, w.last)
}

func (w *compilerWatch) messages() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(lastLines(bytes.Join([][]byte{[]byte(strings.Join(w.other, "\n"))}, nil), 30))
}
