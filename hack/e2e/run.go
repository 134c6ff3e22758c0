package main

// The order of things.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is what an interrupted program gets to end by itself.
	patience = 30 * time.Second
	// beat is how often we say what is being waited for.
	beat = 30 * time.Second
)

// Run is one run of the tests.
type Run struct {
	root     string
	only     string
	keep     bool
	bench    bool          // measure instead of testing
	limit    time.Duration // of the cluster and the tests
	start    time.Time
	steps    []string
	unsteady []string      // tests that failed and then passed alone
	cpu      time.Duration // of the programs that have ended
}

func newRun(root string) *Run { return &Run{root: root, start: time.Now()} }

func (r *Run) path(elem ...string) string { return filepath.Join(append([]string{r.root}, elem...)...) }
func (r *Run) clusterDir() string         { return r.path(".strata", "kube", "e2e") }
func (r *Run) logDir() string             { return r.path(".strata", "e2e", "log") }
func (r *Run) kube() string               { return r.path("bin", "hack-kube") }

// all does everything. What a killed run left is cleared away at the beginning, and what this one made at the end.
func (r *Run) all(ctx context.Context) error {
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"programs", func() error { return r.tool(ctx, "go", "build", "-o", r.kube(), "./hack/kube") }},
		{"clear away", func() error { return r.cluster(ctx, "down") }},
		{"kubernetes", func() error { return r.cluster(ctx, "build") }},
		{"images", func() error { return r.tool(ctx, "go", "run", "./hack/image", "build") }},
		{"tests", func() error { return r.compile(ctx) }},
		{"machine", func() error { return r.machine(ctx) }},
	} {
		if err := r.step(s.name, s.do); err != nil {
			return err
		}
	}
	err = r.inCluster(ctx)
	if r.keep && ctx.Err() == nil {
		return err
	}
	// Whatever happened, nothing stays; the context may be over.
	ctx = context.WithoutCancel(ctx)
	return errors.Join(err, r.saveLogs(), r.step("down", func() error { return r.cluster(ctx, "down") }))
}

// inCluster is what has a limit: the cluster comes up, and the tests run in it.
func (r *Run) inCluster(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	err := r.step("cluster", func() error { return r.cluster(ctx, "up", "--ceph") })
	if err == nil {
		err = r.step("import", func() error { return r.importImages(ctx) })
	}
	if err == nil {
		err = r.step("run", func() error { return r.test(ctx) })
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("not done after %s: %w", r.limit, err)
	}
	return err
}

// lock keeps a second run in the same checkout out: they have one cluster.
func (r *Run) lock() (unlock func(), err error) {
	if err := os.MkdirAll(r.path(".strata", "e2e"), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(r.path(".strata", "e2e", "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another run is going on in this checkout (%s is locked)", f.Name())
	}
	return func() { f.Close() }, nil
}

func (r *Run) cluster(ctx context.Context, args ...string) error {
	return r.tool(ctx, r.kube(), append([]string{"--dir", r.clusterDir()}, args...)...)
}

// compile builds what the tests run, some of it with the go command, which can't download anything once it is inside.
func (r *Run) compile(ctx context.Context) error {
	if err := r.tool(ctx, "make", "--no-print-directory", "kubectl-strata"); err != nil {
		return err
	}
	if err := r.tool(ctx, "go", "-C", "hack/chart", "build", "-o", "/dev/null", "."); err != nil {
		return err
	}
	return r.tool(ctx, "go", "test", "-tags", "e2e", "-vet=off", "-run", "^$", "-exec", "true", "./tests/e2e/...")
}

// machine runs the tests of the development Kubernetes itself.
func (r *Run) machine(ctx context.Context) error {
	return r.tool(ctx, "go", "test", "-tags", "e2e", "-vet=off", "-count=1", "./hack/kube")
}

func (r *Run) importImages(ctx context.Context) error {
	images, err := filepath.Glob(r.path(".strata", "images", "*.tar"))
	if err != nil {
		return err
	}
	if len(images) == 0 {
		return errors.New("hack/image made no .strata/images/*.tar")
	}
	if err := r.cluster(ctx, append([]string{"images", "import"}, images...)...); err != nil {
		return err
	}
	for image, name := range otherNames {
		if err := r.cluster(ctx, "images", "tag", image, name); err != nil {
			return err
		}
	}
	return nil
}

// otherNames are names under which the tests use an image, too.
var otherNames = map[string]string{
	// The next release, for tests of upgrades. Of strata-node there is a second image.
	"docker.io/library/strata-controller:dev": "docker.io/library/strata-controller:dev2",
	// The image of examples/: like it a small Debian 12.
	"registry.k8s.io/e2e-test-images/jessie-dnsutils:1.7": "docker.io/library/debian:12-slim",
}

func (r *Run) test(ctx context.Context) error {
	args := []string{"run", "--", "go", "test", "-tags", "e2e", "-v", "-count=1", "-vet=off", "-timeout", "45m"}
	if r.bench {
		return r.measure(ctx, append(args, "-run", "^$", "-benchtime", "1x", "-bench", cmp.Or(r.only, "."), "./tests/e2e"))
	}
	if r.only != "" {
		args = append(args, "-run", r.only)
	}
	return r.repeat(ctx, func(w io.Writer, more ...string) error {
		return r.toolTo(ctx, w, r.kube(), slices.Concat([]string{"--dir", r.clusterDir()}, args, more, []string{"./tests/e2e/..."})...)
	})
}

// saveLogs keeps the daemons' logs, which go with the cluster's directory.
func (r *Run) saveLogs() error {
	if err := os.RemoveAll(r.logDir()); err != nil {
		return err
	}
	err := os.CopyFS(r.logDir(), os.DirFS(filepath.Join(r.clusterDir(), "log")))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// step does one thing and keeps how long it took.
func (r *Run) step(name string, do func() error) error {
	fmt.Printf("[%s] == %s\n", clock(time.Since(r.start)), name)
	begin, cpu := time.Now(), r.cpu
	end := make(chan struct{})
	go func() {
		t := time.NewTicker(beat)
		defer t.Stop()
		for {
			select {
			case <-end:
				return
			case <-t.C:
				fmt.Printf("[%s] ... %s\n", clock(time.Since(r.start)), name)
			}
		}
	}()
	err := do()
	close(end)
	verdict := "ok"
	if err != nil {
		verdict = "FAILED"
		err = fmt.Errorf("%s: %w", name, err)
	}
	r.steps = append(r.steps, fmt.Sprintf("%-6s  %6s  %6s  %s", verdict, clock(time.Since(begin)), clock(r.cpu-cpu), name))
	return err
}

func (r *Run) printSteps() {
	// What runs inside of the cluster and goes on isn't in the processors' time.
	fmt.Println("\n          wall     cpu")
	for _, s := range r.steps {
		fmt.Println(s)
	}
	fmt.Printf("in all  %6s  %6s\n", clock(time.Since(r.start)), clock(r.cpu))
	for _, name := range r.unsteady {
		fmt.Println("unsteady:", name)
	}
}

// tool runs a program with its output shown, in a process group of its own, so that the end of this one's terminal reaches it
// through us alone.
func (r *Run) tool(ctx context.Context, name string, args ...string) error {
	return r.toolTo(ctx, os.Stdout, name, args...)
}

// toolTo is tool with the program's standard output written to w.
func (r *Run) toolTo(ctx context.Context, w io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.root, w, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGINT) }
	cmd.WaitDelay = patience
	err := cmd.Run()
	if s := cmd.ProcessState; s != nil {
		r.cpu += s.UserTime() + s.SystemTime()
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(name), strings.Join(args, " "), err)
	}
	return nil
}

// clock is minutes and seconds.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
