package cephkernel

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// testKey makes a well-formed cephx key that opens nothing.
func testKey() []byte {
	raw := make([]byte, 12+16)
	binary.LittleEndian.PutUint16(raw, 1)
	binary.LittleEndian.PutUint16(raw[10:], 16)
	return []byte(base64.StdEncoding.EncodeToString(raw))
}

func TestSecret(t *testing.T) {
	if _, err := decodeSecret(testKey()); err != nil {
		t.Fatalf("a good key: %v", err)
	}
	short := base64.StdEncoding.EncodeToString([]byte("hunter2"))
	for name, key := range map[string]string{
		"empty":         "",
		"not base64":    "hunter2!",
		"another thing": short,
		"cut":           string(testKey()[:20]),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeSecret([]byte(key))
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			if key != "" && strings.Contains(err.Error(), key) {
				t.Fatalf("the error repeats the key: %v", err)
			}
		})
	}
}

func TestBadMountIsRefusedBeforeTheKernelSeesIt(t *testing.T) {
	good := Mount{Monitors: []string{"127.0.0.1:1"}, User: "u", FS: "fs", Path: "/"}
	for name, change := range map[string]func(*Mount){
		"option":            func(m *Mount) { m.Options = []string{"secret=x"} },
		"user with a comma": func(m *Mount) { m.User = "u,rw" },
		"no user":           func(m *Mount) { m.User = "" },
		"file system":       func(m *Mount) { m.FS = "a=b" },
		"path":              func(m *Mount) { m.Path = "x" },
		"monitor":           func(m *Mount) { m.Monitors = nil },
	} {
		t.Run(name, func(t *testing.T) {
			m := good
			change(&m)
			if err := NewMounter().Mount(t.Context(), m, testKey(), t.TempDir()); !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v", err)
			}
		})
	}
	if err := NewMounter().Mount(t.Context(), good, testKey(), "relative"); !errors.Is(err, ErrInvalid) {
		t.Fatalf("relative target: %v", err)
	}
}

func TestKernelErrorsHaveAKind(t *testing.T) {
	m := Mount{Monitors: []string{"10.0.0.1:6789"}, User: "u", FS: "warm", Path: "/p"}
	for _, tc := range []struct {
		errno  unix.Errno
		waited bool
		want   error
	}{
		{unix.EACCES, false, ErrDenied},
		{unix.EPERM, false, ErrDenied},
		{unix.ENOENT, false, ErrNotFound},
		{unix.EHOSTUNREACH, false, ErrNotServed},
		{unix.EHOSTUNREACH, true, ErrUnreachable},
		{unix.ETIMEDOUT, true, ErrUnreachable},
		{unix.EIO, false, ErrUnreachable},
		{unix.EINVAL, false, ErrInvalid},
		{unix.ENODEV, false, ErrUnavailable},
	} {
		err := classify(m, failure{err: tc.errno, said: []string{"said so"}, waited: tc.waited})
		if !errors.Is(err, tc.want) || !errors.Is(err, tc.errno) {
			t.Errorf("%v: got %v", tc.errno, err)
		}
		if !strings.Contains(err.Error(), "said so") {
			t.Errorf("%v: the kernel's words are lost: %v", tc.errno, err)
		}
	}
	if err := classify(m, failure{err: unix.ENOMEM}); errors.Is(err, ErrDenied) || !errors.Is(err, unix.ENOMEM) {
		t.Errorf("an errno without a kind: %v", err)
	}
}

func TestOneAttemptPerTarget(t *testing.T) {
	mt := NewMounter()
	if err := mt.begin("/t"); err != nil {
		t.Fatal(err)
	}
	if err := mt.begin("/t"); !errors.Is(err, ErrInFlight) {
		t.Fatalf("second attempt: %v", err)
	}
	if err := mt.begin("/u"); err != nil {
		t.Fatalf("another target: %v", err)
	}
	mt.end("/t")
	if err := mt.begin("/t"); err != nil {
		t.Fatalf("after the end: %v", err)
	}
}

func TestUnavailableIsSaid(t *testing.T) {
	if ok, reason := Available(); !ok && reason == "" {
		t.Fatal("no reason given")
	}
}
