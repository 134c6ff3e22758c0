package mountd

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestALogThatGrowsIsCutAndItsClientGoesOn(t *testing.T) {
	dir := t.TempDir()
	log, err := openLog(dir, "/mnt")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	write := func(s string, n int) {
		t.Helper()
		if _, err := log.Write(bytes.Repeat([]byte(s), n)); err != nil {
			t.Fatal(err)
		}
	}
	known := map[string]bool{name("/mnt"): true}
	tidy := func() {
		t.Helper()
		if err := tidyLogs(dir, known, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	write("small\n", 10)
	tidy()
	if got := tail(dir, "/mnt"); got != "small | small | small | small | small" {
		t.Errorf("a small log was touched: %q", got)
	}
	write("0123456789\n", logLimit/11+1)
	write("the last word\n", 1)
	tidy()
	write("and on\n", 1)
	raw, err := os.ReadFile(logPath(dir, "/mnt"))
	if err != nil || string(raw) != "and on\n" {
		t.Errorf("%d bytes %.40q, %v", len(raw), raw, err)
	}
	old, err := os.ReadFile(logPath(dir, "/mnt") + oldSuffix)
	if err != nil || len(old) != logLimit/4 || !bytes.HasSuffix(old, []byte("the last word\n")) {
		t.Errorf("kept %d bytes, %v", len(old), err)
	}
}

func TestLogsOfMountsLongGoneAreRemoved(t *testing.T) {
	dir := t.TempDir()
	gone, held, fresh, foreign := name("/gone")+".log", name("/held")+".log", name("/fresh")+".log", "syslog.log"
	long := time.Now().Add(-2 * logAge)
	for _, f := range []string{gone, gone + oldSuffix, held, fresh, foreign} {
		path := filepath.Join(dir, f)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if f != fresh {
			if err := os.Chtimes(path, long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tidyLogs(dir, map[string]bool{name("/held"): true}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for f, want := range map[string]bool{gone: false, gone + oldSuffix: false, held: true, fresh: true, foreign: true} {
		if _, err := os.Stat(filepath.Join(dir, f)); (err == nil) != want {
			t.Errorf("%s: %v", f, err)
		}
	}
	if err := tidyLogs(filepath.Join(dir, "none"), nil, time.Now()); err != nil {
		t.Errorf("no directory yet: %v", err)
	}
}
