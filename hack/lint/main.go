// Command lint (go run ./hack/lint) holds the code to its rules: formatting, go vet, staticcheck with every check on, and the rules
// of who may import whom. It prints all that is wrong and exits 1 then.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// cgoTags builds everything, with librados. go-ceph needs the name of the oldest Ceph release it may use.
	cgoTags = "pacific"
	// crashTags is the build of the crash tests.
	crashTags = "pacific,failpoint"
	// e2eTags is the build of the tests in Kubernetes.
	e2eTags = "pacific,e2e"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	packages, err := list(ctx)
	if err != nil {
		return err
	}
	failed := []string{}
	for _, c := range []struct {
		name  string
		check func() error
	}{
		{"imports", func() error { return report(broken(packages)) }},
		{"gofmt", func() error { return formatted(ctx) }},
		{"vet", func() error { return call(ctx, nil, "go", "vet", "-tags", cgoTags, "./...") }},
		{"vet for the crash tests", func() error { return call(ctx, nil, "go", "vet", "-tags", crashTags, "./...") }},
		{"vet for the tests in Kubernetes", func() error { return call(ctx, nil, "go", "vet", "-tags", e2eTags, "./hack/kube", "./tests/e2e") }},
		{"vet for what make nightly and the emulated machine run", func() error { return call(ctx, nil, "go", "vet", "-tags", "nightly,lab", "./pkg/coldfs") }},
		{"vet without cgo", func() error {
			return call(ctx, []string{"CGO_ENABLED=0"}, "go", append([]string{"vet"}, withoutLibrados(packages)...)...)
		}},
		{"staticcheck", func() error { return call(ctx, nil, "go", "tool", "staticcheck", "-tags", cgoTags, "./...") }},
		{"staticcheck for the crash tests", func() error {
			return call(ctx, nil, "go", "tool", "staticcheck", "-tags", crashTags, "./pkg/failpoint")
		}},
		{"staticcheck for the tests in Kubernetes", func() error {
			return call(ctx, nil, "go", "tool", "staticcheck", "-tags", e2eTags, "./hack/kube", "./tests/e2e")
		}},
	} {
		start := time.Now()
		err := c.check()
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		verdict := "ok"
		if err != nil {
			verdict = "FAILED"
			failed = append(failed, c.name)
		}
		fmt.Printf("%-6s  %s (%.1fs)\n", verdict, c.name, time.Since(start).Seconds())
		if err != nil {
			fmt.Println(strings.TrimRight(err.Error(), "\n"))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of the checks failed: %s", len(failed), strings.Join(failed, ", "))
	}
	return nil
}

// call runs a program; its error is the program's output.
func call(ctx context.Context, env []string, name string, args ...string) error {
	_, err := output(ctx, env, name, args...)
	return err
}

func output(ctx context.Context, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s%s%s: %w", stdout.Bytes(), stderr.Bytes(), cmd.Path, err)
	}
	return stdout.Bytes(), nil
}

// formatted asks gofmt about the files that git knows or would add, so that what a test or a build leaves is not looked at.
func formatted(ctx context.Context) error {
	out, err := output(ctx, nil, "git", "ls-files", "--cached", "--others", "--exclude-standard", "*.go")
	if err != nil {
		return err
	}
	files := slices.DeleteFunc(strings.Fields(string(out)), func(f string) bool {
		_, err := os.Stat(f) // git still lists a file that was removed
		return err != nil
	})
	if len(files) == 0 {
		return errors.New("no Go files found")
	}
	out, err = output(ctx, nil, "gofmt", append([]string{"-s", "-d"}, files...)...)
	if err == nil && len(out) > 0 {
		err = errors.New(string(out))
	}
	return err
}

func report(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(problems, "\n"))
}
