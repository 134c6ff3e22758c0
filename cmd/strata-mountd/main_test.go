package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/mountd"
)

// The test binary is the program when it is asked to be.
func TestMain(m *testing.M) {
	if os.Getenv("STRATA_MOUNTD_TEST") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	var output bytes.Buffer
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "STRATA_MOUNTD_TEST=1")
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, &output
}

func TestItAnswersAndEndsWellOnASignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			dir, err := os.MkdirTemp("", "mountd") // short: it is the path of a socket
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			client := mountd.Client{Socket: filepath.Join(dir, "s")}
			cmd, output := program(t, "--socket", client.Socket, "--state-dir", filepath.Join(dir, "state"), "--log-dir", filepath.Join(dir, "log"),
				"--ceph-fuse", os.Args[0], "--v", "10")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			for client.Ping(ctx) != nil {
				select {
				case <-ctx.Done():
					t.Fatal("it doesn't answer")
				case <-time.After(10 * time.Millisecond):
				}
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended with %v\n%s", err, output)
			}
		})
	}
}

func TestAWrongOptionIsToldByItsName(t *testing.T) {
	for option, value := range map[string]string{"--socket": "relative", "--state-dir": "relative", "--log-dir": "relative", "--ceph-fuse": ""} {
		cmd, output := program(t, option, value)
		if err := cmd.Wait(); err == nil || !bytes.Contains(output.Bytes(), []byte(option)) {
			t.Errorf("%s: %v: %s", option, err, output)
		}
	}
}
