package mountd_test

// Engines of tier cold: how they are started, what they say, and what becomes of who waits for one that has ended. What is the same for every kind of mount is
// tested with ceph-fuse.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/s3"
)

// accessKey is a secret as strata-node sends it.
func accessKey(id string) []byte {
	raw, _ := json.Marshal(control.Credentials{AccessKeyID: id, SecretAccessKey: sentinelSecret})
	return raw
}

// coldSpec asks for an engine that does what the fake is told.
func (h *holder) coldSpec(what string) mountd.Spec {
	h.t.Helper()
	path := filepath.Join(h.dir, "mnt")
	if err := os.MkdirAll(path, 0o700); err != nil {
		h.t.Fatal(err)
	}
	raw, err := json.Marshal(struct {
		Volume string      `json:"volume"`
		Store  s3.Location `json:"store"`
		Prefix string      `json:"prefix"`
	}{"cold:h:b:p", s3.Location{Endpoint: "https://h", Bucket: "b"}, what + "/"})
	if err != nil {
		h.t.Fatal(err)
	}
	return mountd.Spec{Kind: mountd.KindColdFS, Mountpoint: path, Source: "strata:cold:h:b:" + filepath.Base(h.dir), Options: []string{"noatime"}, Engine: raw}
}

func (h *holder) mustStartCold(s mountd.Spec) mountd.Status {
	h.t.Helper()
	if err := h.Start(h.ctx(), s, accessKey("first")); err != nil {
		h.t.Fatalf("%v\n%s", err, h.output())
	}
	return h.status(s)
}

// engineLog is what the engine has written.
func (h *holder) engineLog() string {
	h.t.Helper()
	files, err := filepath.Glob(filepath.Join(h.dir, "log", "*.log"))
	if err != nil || len(files) != 1 {
		h.t.Fatalf("logs: %v, %v", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		h.t.Fatal(err)
	}
	return string(raw)
}

func TestAnEngineIsStartedOnceAndStopLeavesNothing(t *testing.T) {
	h := newHolder(t)
	s := h.coldSpec("good")
	first := h.mustStartCold(s)
	if first.State != mountd.Running || first.PID == 0 || first.Detached || len(first.Conditions) > 0 {
		t.Errorf("status %+v", first)
	}
	m, ok, err := mountpoint.Find(s.Mountpoint)
	if err != nil || !ok || m.FSType != "fuse.strata-coldfs" || m.Source != s.Source {
		t.Fatalf("mounted %+v, %v", m, err)
	}
	for _, want := range []string{"nosuid", "nodev", "noatime"} {
		if !slices.Contains(m.Options, want) {
			t.Errorf("no %s in %v", want, m.Options)
		}
	}
	for _, want := range []string{"allow_other", "default_permissions"} {
		if !slices.Contains(m.SuperOptions, want) {
			t.Errorf("no %s in %v", want, m.SuperOptions)
		}
	}
	if again := h.mustStartCold(s); again.PID != first.PID {
		t.Errorf("the repeated start made another process: %d, %d", first.PID, again.PID)
	}
	other := s
	other.Engine = json.RawMessage(`{"prefix":"good/other/"}`)
	wantError(t, h.Start(h.ctx(), other, accessKey("first")), mountd.ErrConflict)
	for range 2 {
		wantError(t, h.Stop(h.ctx(), s.Mountpoint), nil)
	}
	if all, err := h.List(h.ctx()); err != nil || len(all) != 0 || isMounted(t, s.Mountpoint) || lives(t, first.PID) {
		t.Errorf("left over: %+v %v", all, err)
	}
	for _, glob := range []string{"state/*.json*", "log/*"} {
		if left, _ := filepath.Glob(filepath.Join(h.dir, glob)); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
}

func TestHowAnEngineIsStarted(t *testing.T) {
	h := newHolder(t)
	s := h.coldSpec("good")
	s.ReadOnly = true
	s.Engine = append(s.Engine[:len(s.Engine)-1], `,"mountGroup":2000}`...)
	st := h.mustStartCold(s)
	want := fmt.Sprintf("user 65534 with first, cache %s of %d, memory %d, read-only true\n", filepath.Join(h.dir, "cache"), 1<<30, 256<<20)
	if log := h.engineLog(); !strings.Contains(log, want) {
		t.Errorf("%q isn't in %q", want, log)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", st.PID))
	wantError(t, err, nil)
	for _, line := range []string{"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n", "Groups:\t \n", "CapEff:\t0000000000000000\n"} {
		if !bytes.Contains(status, []byte(line)) {
			t.Errorf("no %q in\n%s", line, status)
		}
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", st.PID))
	wantError(t, err, nil)
	for _, word := range strings.Split(strings.TrimSuffix(string(environ), "\x00"), "\x00") {
		if name, _, _ := strings.Cut(word, "="); !slices.Contains([]string{"PATH", "LANG", "GOMEMLIMIT", "STRATA_MOUNTPOINT", "STRATA_SPEC"}, name) {
			t.Errorf("it has %s of the holder's environment", word)
		}
	}
	var dir unix.Stat_t
	wantError(t, unix.Stat(filepath.Join(h.dir, "cache"), &dir), nil)
	if dir.Uid != 65534 || dir.Mode&0o777 != 0o700 {
		t.Errorf("the cache directory is user %d's with mode %o", dir.Uid, dir.Mode)
	}
	if m, _, err := mountpoint.Find(s.Mountpoint); err != nil || !m.ReadOnly() || !slices.Contains(m.SuperOptions, "group_id=2000") {
		t.Errorf("%+v, %v", m, err)
	}
	h.checkMemoryGroup(st.PID)
}

// checkMemoryGroup wants the engine to be alone in a control group with a limit.
func (h *holder) checkMemoryGroup(pid int) {
	h.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	wantError(h.t, err, nil)
	for line := range strings.Lines(string(raw)) {
		_, path, ok := strings.Cut(strings.TrimSpace(line), ":memory:")
		if !ok {
			if _, path, ok = strings.Cut(strings.TrimSpace(line), "0::"); !ok || !strings.Contains(path, "strata-coldfs-") {
				continue
			}
		}
		for _, file := range []string{"/sys/fs/cgroup/memory" + path + "/memory.limit_in_bytes", "/sys/fs/cgroup" + path + "/memory.max"} {
			if limit, err := os.ReadFile(file); err == nil {
				if n, _ := strconv.ParseInt(strings.TrimSpace(string(limit)), 10, 64); n != 256<<20+mountd.MemoryRoom || !strings.Contains(path, "/strata-coldfs-") {
					h.t.Errorf("%s: limit %q", path, limit)
				}
				return
			}
		}
	}
	if !strings.Contains(h.output(), "no control group can be made") {
		h.t.Errorf("no limit, and nothing is said about it: %s", raw)
	}
}

func TestWhatKeepsAnEngineFromStartingIsTold(t *testing.T) {
	h := newHolder(t)
	for _, c := range []struct {
		what   string
		secret []byte
		want   error
	}{
		{"fails-denied", accessKey("k"), mountd.ErrDenied},
		{"fails-not-found", accessKey("k"), mountd.ErrNotFound},
		{"fails-unreachable", accessKey("k"), mountd.ErrUnreachable},
		{"fails-invalid", accessKey("k"), mountd.ErrInvalid},
		{"fails-failed", accessKey("k"), mountd.ErrFailed},
		{"fails-of-a-later-version", accessKey("k"), mountd.ErrFailed},
		{"dies", accessKey("k"), mountd.ErrFailed},
		{"tells", accessKey("k"), mountd.ErrFailed},
		{"good", []byte("AQBkeyOfCeph=="), mountd.ErrInvalid},
		{"good", []byte(`{"accessKeyID":"k"}`), mountd.ErrInvalid},
		{"good", nil, mountd.ErrInvalid},
	} {
		s := h.coldSpec(c.what)
		err := h.Start(h.ctx(), s, c.secret)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
			continue
		}
		if strings.Contains(err.Error(), sentinelSecret) {
			t.Errorf("%s: the error holds the secret", c.what)
		}
		if strings.HasPrefix(c.what, "fails-") && !strings.Contains(err.Error(), "the fake is told to") {
			t.Errorf("%s: %q isn't what the engine said", c.what, err)
		}
		if c.what == "dies" && !strings.Contains(err.Error(), "out of luck") {
			t.Errorf("%q isn't what the engine wrote", err)
		}
		if all, _ := h.List(h.ctx()); len(all) != 0 || isMounted(t, s.Mountpoint) {
			t.Errorf("%s: left over: %+v", c.what, all)
		}
	}
	if strings.Contains(h.output(), sentinelSecret) {
		t.Error("the holder printed the secret")
	}
}

func TestSpecsOfEnginesAreChecked(t *testing.T) {
	h := newHolder(t)
	for name, change := range map[string]func(*mountd.Spec){
		"no configuration":                   func(s *mountd.Spec) { s.Engine = nil },
		"a list":                             func(s *mountd.Spec) { s.Engine = json.RawMessage(`[]`) },
		"the node's cache":                   func(s *mountd.Spec) { s.Engine = json.RawMessage(`{"volume":"v","cacheDir":"/etc"}`) },
		"the node's memory":                  func(s *mountd.Spec) { s.Engine = json.RawMessage(`{"volume":"v","memoryLimit":1}`) },
		"an option of another kind of mount": func(s *mountd.Spec) { s.Options = []string{"client_oc=true"} },
		"a flag that lets programs be root":  func(s *mountd.Spec) { s.Options = []string{"suid"} },
		"an option of FUSE":                  func(s *mountd.Spec) { s.Options = []string{"user_id=5"} },
		"monitors":                           func(s *mountd.Spec) { s.Monitors = []string{"127.0.0.1:1"} },
		"a kind that nobody has heard of":    func(s *mountd.Spec) { s.Kind = "nfs" },
		"another engine's configuration": func(s *mountd.Spec) {
			s.Kind, s.Monitors, s.User, s.FS, s.Path = mountd.KindCephFuse, []string{"127.0.0.1:1"}, "u", "f", "/p"
		},
	} {
		s := h.coldSpec("good")
		change(&s)
		if err := h.Start(h.ctx(), s, accessKey("k")); !errors.Is(err, mountd.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnEngineThatIsNeverReadyIsGivenUp(t *testing.T) {
	h := newHolder(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	s := h.coldSpec("silent")
	wantError(t, h.Start(ctx, s, accessKey("k")), mountd.ErrUnreachable)
	h.eventually("nothing is left", func() bool {
		all, err := h.List(h.ctx())
		return err == nil && len(all) == 0 && !isMounted(t, s.Mountpoint)
	})
}

func TestNobodyHangsOnAnEngineThatWasKilled(t *testing.T) {
	h := newHolder(t)
	s := h.coldSpec("good")
	first := h.mustStartCold(s)
	pod := h.pod(s)
	// Stopped first, so that a caller is waiting for it when it dies.
	wantError(t, unix.Kill(first.PID, unix.SIGSTOP), nil)
	h.eventually("all of the engine stands still", func() bool { return standsStill(t, first.PID) })
	asked, answer := make(chan struct{}), make(chan error)
	go func() {
		close(asked)
		var st unix.Statfs_t
		answer <- unix.Statfs(pod, &st)
	}()
	<-asked
	wantError(t, unix.Kill(first.PID, unix.SIGKILL), nil)
	select {
	case err := <-answer:
		if !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) {
			t.Errorf("who waited got %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("who waited for it waits still")
	}
	h.eventually("the death is seen", func() bool { return h.status(s).State == mountd.Exited })
	if exit := h.status(s).Exit; !strings.Contains(exit, "killed") {
		t.Errorf("it says %q", exit)
	}
	h.eventually("the death is counted", func() bool { return h.metrics()["strata_cold_engines_died_total"] == 1 })
	second := h.mustStartCold(s)
	if second.PID == first.PID || second.State != mountd.Running {
		t.Errorf("not replaced: %+v", second)
	}
	h.expect("it was replaced", map[string]float64{
		`strata_cold_engines{state="running"}`: 1, "strata_cold_engines_started_total": 2, "strata_cold_engines_restarted_total": 1,
		`clients{state="running"}`: 0, "clients_started_total": 0, "clients_died_total": 0,
	})
	if m, _, err := mountpoint.Find(s.Mountpoint); err != nil || m == nil || m.Stacked != 1 {
		t.Errorf("mounted: %+v, %v", m, err)
	}
}

func TestNewCredentialsReachARunningEngine(t *testing.T) {
	h := newHolder(t)
	s := h.coldSpec("good")
	wantError(t, h.Renew(h.ctx(), s.Mountpoint, accessKey("early")), mountd.ErrNotFound)
	first := h.mustStartCold(s)
	wantError(t, h.Renew(h.ctx(), s.Mountpoint, accessKey("second")), nil)
	h.eventually("the engine has them", func() bool { return strings.Contains(h.engineLog(), "goes on with second") })
	wantError(t, h.Renew(h.ctx(), s.Mountpoint, []byte("AQBkeyOfCeph==")), mountd.ErrInvalid)
	wantError(t, h.Renew(h.ctx(), s.Mountpoint, accessKey("revoked")), nil)
	h.eventually("its condition is known", func() bool { return len(h.status(s).Conditions) == 1 })
	want := []control.Condition{{Reason: control.CredentialRefused, Text: "refused, and it was [redacted]"}}
	if st := h.status(s); st.PID != first.PID || !slices.Equal(st.Conditions, want) {
		t.Errorf("%+v", st)
	}
	wantError(t, h.Renew(h.ctx(), s.Mountpoint, accessKey("third")), nil)
	h.eventually("it is well again", func() bool { return len(h.status(s).Conditions) == 0 })

	// What an engine is started with can't be changed once its holder has gone: the socket went with it.
	h.kill()
	h.start()
	st := h.status(s)
	if st.PID != first.PID || st.State != mountd.Running || !st.Detached {
		t.Fatalf("not adopted: %+v", st)
	}
	wantError(t, h.Renew(h.ctx(), s.Mountpoint, accessKey("fourth")), mountd.ErrDetached)
	var fs unix.Statfs_t
	wantError(t, unix.Statfs(s.Mountpoint, &fs), nil)
	h.expect("adopted", map[string]float64{"strata_cold_engines_adopted_total": 1, `strata_cold_engines{state="running"}`: 1})
	// Its own descriptor is the last one now, so its end is the end of the connection.
	wantError(t, unix.Kill(first.PID, unix.SIGKILL), nil)
	h.eventually("the death is seen", func() bool { return h.status(s).State == mountd.Exited })
	wantError(t, unix.Statfs(s.Mountpoint, &fs), unix.ENOTCONN)
	if second := h.mustStartCold(s); second.Detached || second.PID == first.PID {
		t.Errorf("not replaced: %+v", second)
	}
	wantError(t, h.Stop(h.ctx(), s.Mountpoint), nil)
}

func TestAStopWaitsForWhatAnEngineCommits(t *testing.T) {
	h := newHolder(t)
	s := h.coldSpec("busy")
	first := h.mustStartCold(s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	wantError(t, h.Stop(ctx, s.Mountpoint), mountd.ErrBusy)
	if !lives(t, first.PID) || isMounted(t, s.Mountpoint) {
		t.Errorf("lives %t, mounted %t", lives(t, first.PID), isMounted(t, s.Mountpoint))
	}
	if log := h.engineLog(); !strings.Contains(log, "told to flush") {
		t.Errorf("it wasn't told: %s", log)
	}
	wantError(t, os.WriteFile(s.Mountpoint+".written", nil, 0o600), nil)
	wantError(t, h.Stop(h.ctx(), s.Mountpoint), nil)
	if lives(t, first.PID) {
		t.Error("stop didn't wait for its end")
	}
}

func TestTheSecretOfAnEngineIsNowhere(t *testing.T) {
	h := newHolder(t)
	st := h.mustStartCold(h.coldSpec("good"))
	wantError(t, h.Renew(h.ctx(), st.Spec.Mountpoint, accessKey("second")), nil)
	h.eventually("the engine has it", func() bool { return strings.Contains(h.engineLog(), "goes on with second") })
	proc := fmt.Sprintf("/proc/%d/", st.PID)
	places := []string{proc + "cmdline", proc + "environ", proc + "fd/5", filepath.Join(h.dir, "output")}
	for _, glob := range []string{"state/*", "log/*"} {
		files, err := filepath.Glob(filepath.Join(h.dir, glob))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v %v", glob, files, err)
		}
		places = append(places, files...)
	}
	for _, p := range places {
		raw, err := os.ReadFile(p)
		wantError(t, err, nil)
		if bytes.Contains(raw, []byte("sentinelSecret")) {
			t.Errorf("%s holds the secret", p)
		}
	}
}

func TestARecordOfAnEngine(t *testing.T) {
	t.Run("keeps what a later one needs", func(t *testing.T) {
		h := newHolder(t)
		h.mustStartCold(h.coldSpec("good"))
		raw, err := os.ReadFile(h.record())
		wantError(t, err, nil)
		var fields struct{ Init []byte }
		wantError(t, json.Unmarshal(raw, &fields), nil)
		// struct fuse_in_header, whose opcode at 4 is FUSE_INIT, and struct fuse_init_in (linux/fuse.h).
		if len(fields.Init) < 56 || fields.Init[4] != 26 {
			t.Errorf("the first request is %x", fields.Init)
		}
	})
	t.Run("that was lost is made again", func(t *testing.T) {
		h := newHolder(t)
		s := h.coldSpec("good")
		first := h.mustStartCold(s)
		h.kill()
		wantError(t, os.Remove(h.record()), nil)
		h.start()
		if again := h.mustStartCold(s); again.PID != first.PID || again.State != mountd.Running {
			t.Errorf("%d, then %+v", first.PID, again)
		}
		wantError(t, h.Stop(h.ctx(), s.Mountpoint), nil)
		if lives(t, first.PID) {
			t.Error("stop didn't wait for its end")
		}
	})
	t.Run("of one that wasn't ready is not adopted", func(t *testing.T) {
		h := newHolder(t)
		s := h.coldSpec("good")
		first := h.mustStartCold(s)
		h.kill()
		h.edit(func(fields map[string]any) { delete(fields, "ready"); delete(fields, "init") })
		h.start()
		h.eventually("it is ended", func() bool { return !lives(t, first.PID) })
		if second := h.mustStartCold(s); second.PID == first.PID {
			t.Error("not replaced")
		}
	})
}

func TestTheCacheDirectoryMustBeReachable(t *testing.T) {
	h := newHolder(t)
	wantError(t, os.Chmod(h.dir, 0o700), nil)
	err := h.Start(h.ctx(), h.coldSpec("good"), accessKey("k"))
	if !errors.Is(err, mountd.ErrFailed) || !strings.Contains(err.Error(), h.dir) || !strings.Contains(err.Error(), "--coldfs-cache-dir") {
		t.Errorf("%v", err)
	}
}

func TestTheNodesSettingsAreThoseOfTheEngine(t *testing.T) {
	// The holder writes them by name, so that it need not know what else an engine is told.
	raw, err := json.Marshal(config.Config{CacheDir: "d", CacheLimit: 1, CacheReserve: 2, MemoryLimit: 3, ReadOnly: true})
	wantError(t, err, nil)
	for _, want := range []string{`"cacheDir":"d"`, `"cacheLimit":1`, `"cacheReserve":2`, `"memoryLimit":3`, `"readOnly":true`} {
		if !bytes.Contains(raw, []byte(want)) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
}

func TestOptionsOfEnginesAreChecked(t *testing.T) {
	for flag, change := range map[string]func(*mountd.ColdFSOptions){
		"--coldfs-uid":           func(o *mountd.ColdFSOptions) { o.UID = 0 },
		"--coldfs-cache-dir":     func(o *mountd.ColdFSOptions) { o.CacheDir = "cache" },
		"--coldfs-cache-size":    func(o *mountd.ColdFSOptions) { o.CacheSize = 1 },
		"--coldfs-cache-reserve": func(o *mountd.ColdFSOptions) { o.CacheReserve = -1 },
		"--coldfs-memory":        func(o *mountd.ColdFSOptions) { o.Memory = 1 },
	} {
		o := optionsBelow(t.TempDir(), "ceph-fuse")
		change(&o.ColdFS)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
	o := optionsBelow(t.TempDir(), "")
	if err := o.Validate(); err != nil {
		t.Errorf("an engine alone: %v", err)
	}
	o.ColdFS.Binary = ""
	if err := o.Validate(); err == nil {
		t.Error("neither kind is served, and nothing is said")
	}
}
