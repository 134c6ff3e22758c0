package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func opened(t *testing.T, progress io.Writer) *store {
	t.Helper()
	s, err := open(t.Context(), t.TempDir(), newProgress(progress))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root, as the command itself: it makes mount namespaces")
	}
}

func TestCommandShowsLogsAndReturns(t *testing.T) {
	needsRoot(t)
	var progress, log bytes.Buffer
	s := opened(t, &progress)
	out, err := s.command(t.Context(), &log, "/", "STEP ", "sh", "-c", "echo STEP 1; echo quiet; echo aside >&2")
	if err != nil {
		t.Fatal(err)
	}
	if out != "STEP 1\nquiet\n" {
		t.Errorf("returned %q", out)
	}
	if !strings.Contains(progress.String(), "STEP 1") || strings.Contains(progress.String(), "quiet") {
		t.Errorf("showed %q", &progress)
	}
	for _, line := range []string{"# sh -c", "STEP 1\n", "quiet\n", "aside\n"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log lacks %q: %q", line, &log)
		}
	}
	if _, err := s.command(t.Context(), &log, "/", "", "sh", "-c", "echo what is wrong >&2; exit 3"); err == nil ||
		!strings.Contains(err.Error(), "exit status 3\nwhat is wrong") {
		t.Errorf("got %v", err)
	}
}

func TestCommandLeavesNoMount(t *testing.T) {
	needsRoot(t)
	s := opened(t, io.Discard)
	dir := t.TempDir()
	if _, err := s.command(t.Context(), io.Discard, "/", "", "sh", "-c", "mount -t tmpfs x "+dir+" && touch "+dir+"/inside"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "inside")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its mount is seen outside: %v", err)
	}
}

func TestCommandEndsWithAllItStarted(t *testing.T) {
	needsRoot(t)
	s := opened(t, io.Discard)
	ctx, cancel := context.WithCancel(t.Context())
	lines := writer(func(b []byte) {
		if strings.Contains(string(b), "ready") {
			cancel()
		}
	})
	// Its end is the end of what holds the pipe: the sleep in the background does, too.
	_, err := s.command(ctx, lines, "/", "", "sh", "-c", "sleep 1000 & echo ready; wait")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func TestOpenClearsAndWaits(t *testing.T) {
	root := t.TempDir()
	first, err := open(t.Context(), root, newProgress(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	write(t, first.tmp, map[string]string{"left": "by a killed build"})
	ctx, cancel := context.WithCancel(t.Context())
	// The second gives up as soon as it says that it waits.
	if _, err := open(ctx, root, newProgress(writer(func(b []byte) {
		if !strings.Contains(string(b), "waiting for another build") {
			t.Errorf("said %q", b)
		}
		cancel()
	}))); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if err := first.lock.Close(); err != nil { // as when it is killed
		t.Fatal(err)
	}
	second, err := open(t.Context(), root, newProgress(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(second.tmp); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	write(t, second.path(), map[string]string{"a.tar": "", "storage/x": ""})
	if err := errors.Join(second.clean(), second.close()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(second.path()); err != nil || len(left) != 1 || left[0].Name() != "lock" {
		t.Errorf("clean leaves %v, %v", left, err)
	}
}

func TestReplaceIsWholeOrNot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := replace(file, func(f *os.File) error { _, err := f.WriteString("old"); return err }); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := replace(file, func(f *os.File) error { _, err := f.WriteString("new"); return errors.Join(err, broken) })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "old" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(file + ".part"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the part is left: %v", err)
	}
}

func TestTreeSize(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{"a": "123", "b/c": "4567"})
	if size, err := treeSize(root); err != nil || size != 7 {
		t.Errorf("%d, %v", size, err)
	}
}
