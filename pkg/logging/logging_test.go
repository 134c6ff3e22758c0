package logging

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// The test binary is a program that logs when it is asked to be: klog's logger is the whole process'.
func TestMain(m *testing.M) {
	if os.Getenv("LOGGING_TEST") != "" {
		program(os.Args[1:])
		return
	}
	os.Exit(m.Run())
}

type secret struct{ Key string }

func (secret) String() string { return "(secret)" }

func program(args []string) {
	flags := pflag.NewFlagSet("program", pflag.ExitOnError)
	o := AddFlags(flags)
	_ = flags.Parse(args)
	if err := o.Apply(); err != nil {
		klog.ErrorS(err, "program stops")
		os.Exit(1)
	}
	ctx := klog.NewContext(context.Background(), klog.Background().WithValues("request", "r1"))
	klog.FromContext(ctx).Info("with a logger", "volume", "warm:a", "took", 1500*time.Millisecond, "count", 3, "key", secret{"AQB"})
	klog.FromContext(ctx).V(4).Info("at four")
	klog.FromContext(ctx).V(5).Info("at five")
	klog.FromContext(ctx).Error(errors.New("two\nlines"), "an error")
	klog.FromContext(context.Background()).Info("without a logger")
	klog.InfoS("structured", "a", "b")
	klog.Infof("printed %d", 1)
	klog.ErrorS(errors.New("no file"), "structured error")
	klog.FromContext(ctx).Info("odd", "key without a value")
	log.Println("of the standard library")
	klog.Flush()
}

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "LOGGING_TEST=1")
	cmd.Stderr = &stderr
	err := cmd.Run()
	return stderr.String(), err
}

func TestEveryLineIsJSON(t *testing.T) {
	out, err := run(t, "--logging-format=json", "--v=4")
	if err != nil {
		t.Fatal(err)
	}
	byMessage := map[string]map[string]any{}
	for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Errorf("%v: %s", err, lines.Text())
			continue
		}
		ts, _ := line["ts"].(string)
		if _, err := time.Parse(time.RFC3339Nano, ts); err != nil {
			t.Errorf("ts: %v", err)
		}
		msg, _ := line["msg"].(string)
		byMessage[strings.TrimSpace(msg)] = line
	}
	for msg, want := range map[string]map[string]any{
		"with a logger":           {"level": "info", "request": "r1", "volume": "warm:a", "took": "1.5s", "count": 3.0, "key": "(secret)", "v": 0.0},
		"at four":                 {"level": "info", "v": 4.0},
		"an error":                {"level": "error", "err": "two\nlines", "request": "r1"},
		"without a logger":        {"level": "info"},
		"structured":              {"level": "info", "a": "b"},
		"printed 1":               {"level": "info"},
		"structured error":        {"level": "error", "err": "no file"},
		"of the standard library": {"level": "info"},
		"odd":                     {"level": "info"},
	} {
		got, ok := byMessage[msg]
		if !ok {
			t.Errorf("no line %q in\n%s", msg, out)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%q: %s is %v, want %v", msg, k, got[k], v)
			}
		}
	}
	if byMessage["at five"] != nil {
		t.Error("it logs more than it was asked for")
	}
	if strings.Contains(out, "AQB") {
		t.Error("a value that hides itself is shown")
	}
}

func TestTextIsTheDefault(t *testing.T) {
	out, err := run(t, "--v=4")
	if err != nil || !strings.Contains(out, `"with a logger" request="r1"`) || !strings.Contains(out, `"at four"`) || strings.Contains(out, `"at five"`) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAnotherFormatIsRefused(t *testing.T) {
	out, err := run(t, "--logging-format=xml")
	if err == nil || !strings.Contains(out, "--logging-format") || !strings.Contains(out, "text nor json") {
		t.Errorf("%v\n%s", err, out)
	}
}
