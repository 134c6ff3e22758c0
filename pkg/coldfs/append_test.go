package coldfs_test

// O_APPEND: programs that write a log together rely on every line being at the end when it is written, whoever else has the file open.

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
)

// logLine is a line of a log: whose, which, and so much more that the lines begin and end anywhere in the pages of the kernel.
func logLine(writer string, k int) string {
	return fmt.Sprintf("%s %d %0*d\n", writer, k, 1+k*37%700, 0)
}

// wantLines looks for lines of writers that each wrote so many, in their order.
func wantLines(t testing.TB, where string, content []byte, counts map[string]int) {
	t.Helper()
	next := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		writer, _, _ := strings.Cut(lines.Text(), " ")
		if want := logLine(writer, next[writer]); lines.Text()+"\n" != want {
			t.Fatalf("DATA MISMATCH: %s: line %d of %s is %.60q, want %.60q", where, next[writer], writer, lines.Text(), want)
		}
		next[writer]++
	}
	for writer, count := range counts {
		if next[writer] != count {
			t.Errorf("DATA MISMATCH: %s: %d lines of %s, want %d", where, next[writer], writer, count)
		}
	}
	if len(next) != len(counts) {
		t.Errorf("DATA MISMATCH: %s: lines of %v", where, next)
	}
}

// Descriptors of one process, processes that have the file open and processes that open it for each line, all at once.
func TestAppendedLinesAreNeitherLostNorTorn(t *testing.T) {
	const lines = 200
	for name, before := range map[string]string{"a new file": "", "over an object": logLine("first", 0)} {
		t.Run(name, func(t *testing.T) {
			v := mount(t, coldfstest.Options{})
			path := v.Path("log")
			counts := map[string]int{}
			if before != "" {
				v.put(t, "vol/log", before)
				counts["first"] = 1
			}
			failed := make(chan error, 16)
			var writers sync.WaitGroup
			start := func(writer string, count int, write func() error) {
				counts[writer] = count
				writers.Go(func() {
					if err := write(); err != nil {
						failed <- fmt.Errorf("%s: %w", writer, err)
					}
				})
			}
			// By two descriptors of this process, which sync at times; the reader's stat asks for the size in between.
			for _, writer := range []string{"here", "there"} {
				f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
				if err != nil {
					t.Fatal(err)
				}
				start(writer, lines, func() error {
					for k := range lines {
						if _, err := f.WriteString(logLine(writer, k)); err != nil {
							return err
						}
						if _, err := os.Stat(path); err != nil {
							return err
						}
						if k%100 == 99 {
							if err := f.Sync(); err != nil {
								return err
							}
						}
					}
					return f.Close()
				})
			}
			// By processes; printf is a builtin, and its line one write.
			const line = `printf '%s %d %0*d\n' $w $k $((1 + k * 37 % 700)) 0`
			shell := func(count int, script string) func(string) func() error {
				return func(writer string) func() error {
					return func() error {
						cmd := exec.Command("sh", "-euc", script)
						cmd.Env = append(os.Environ(), "w="+writer, "log="+path, fmt.Sprint("count=", count))
						if out, err := cmd.CombinedOutput(); err != nil {
							return fmt.Errorf("%w: %s", err, out)
						}
						return nil
					}
				}
			}
			const opened, each = 200, 10
			stay := shell(opened, `exec 3>>"$log"; k=0; while [ $k -lt $count ]; do `+line+` >&3; k=$((k+1)); done`)
			again := shell(each, `k=0; while [ $k -lt $count ]; do `+line+` >>"$log"; k=$((k+1)); done`)
			for _, writer := range []string{"p", "q"} {
				start(writer, opened, stay(writer))
			}
			for _, writer := range []string{"x", "y"} {
				start(writer, each, again(writer))
			}
			writers.Wait()
			close(failed)
			for err := range failed {
				t.Error(err)
			}
			wantLines(t, "the mount", []byte(read(t, path)), counts)
			wantLines(t, "the store", v.object(t, "vol/log"), counts)
		})
	}
}
