package coldfs_test

// What programs and the holder are told when the store, the network, the credential or the quota fails, and that it ends.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// proxied is a volume with a proxy before its store, whose names and attributes are asked for each time.
func proxied(t testing.TB) (*volume, *s3test.FaultProxy) {
	t.Helper()
	server := s3test.Start(t)
	bucket, name := newBucket(t, server)
	p := s3test.Proxy(t, server.Endpoint)
	m := coldfstest.Start(t, server, name, coldfstest.Options{Endpoint: p.Endpoint, Config: func(c *config.Config) { c.MetadataTTL = 0 }})
	return &volume{m, server, bucket, name}, p
}

func TestStart(t *testing.T) {
	server := s3test.Start(t)
	_, name := newBucket(t, server)
	wrong := control.Credentials{AccessKeyID: server.Credentials.AccessKeyID, SecretAccessKey: "wrong"}
	for _, c := range []struct {
		name   string
		bucket string
		o      coldfstest.Options
		want   string
	}{
		{"no such bucket", "another", coldfstest.Options{}, control.CodeNotFound},
		{"a wrong key", name, coldfstest.Options{Credentials: &wrong}, control.CodeDenied},
		{"nobody answers", name, coldfstest.Options{Endpoint: "http://127.0.0.1:9"}, control.CodeUnreachable},
		{"a certificate that nobody trusts", name, coldfstest.Options{Endpoint: s3test.NewAuthority(t).Proxy(t, server.Endpoint, s3test.Front{}).Endpoint}, control.CodeUnreachable},
		{"a prefix that is none", name, coldfstest.Options{Config: func(c *config.Config) { c.Prefix = "x" }}, control.CodeInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Fails = true
			m := coldfstest.Start(t, server, c.bucket, c.o)
			f := m.Failure()
			if f == nil || f.Code != c.want {
				t.Fatalf("the holder is told %+v, want %s", f, c.want)
			}
			for _, secret := range []string{server.Credentials.SecretAccessKey, `"wrong"`} {
				if strings.Contains(f.Text+m.Log(), secret) {
					t.Errorf("the secret is told")
				}
			}
		})
	}
	m := coldfstest.Start(t, server, name, coldfstest.Options{})
	if init := m.Init(); len(init) < 56 || init[4] != 26 {
		t.Errorf("the kernel's first request is %x", init)
	}
}

func TestCredentials(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	write(t, v.Path("f"), "content")
	read(t, v.Path("f"))
	v.NewCredentials(t, s3.Credentials{AccessKeyID: v.server.Credentials.AccessKeyID, SecretAccessKey: "refused"})
	// The content is on this node, and yet nobody gets it without a credential that may read it.
	eventually(t, func() error {
		if _, err := os.ReadFile(v.Path("f")); !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("with a refused credential: %v", err)
		}
		return nil
	})
	v.Await(t, control.CredentialRefused)
	v.NewCredentials(t, v.server.Credentials)
	eventually(t, func() error {
		_, err := os.ReadFile(v.Path("f"))
		return err
	})
	v.Await(t)
	if strings.Contains(v.Log(), v.server.Credentials.SecretAccessKey) || strings.Contains(v.Log(), "refused\"") {
		t.Error("a secret is in the log")
	}
}

func TestTheProcessIsSealed(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", v.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && (fields[4] != "0" || fields[5] != "0") {
			t.Errorf("core files: %s", line)
		}
	}
	for _, file := range []string{"environ", "cmdline"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", v.PID(), file))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(v.server.Credentials.SecretAccessKey)) {
			t.Errorf("the secret is in %s", file)
		}
	}
	// What isn't dumpable belongs to root, whoever runs it (proc_pid(5)).
	self, err := os.Stat(fmt.Sprintf("/proc/%d/mem", v.PID()))
	if err != nil || self.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the memory's file: %v, %v", self, err)
	}
}

func TestFaultsThatPass(t *testing.T) {
	for _, c := range []struct {
		name  string
		match s3test.Match
		fault s3test.Fault
		times int
	}{
		{"500", s3test.Match{}, s3test.Status(500, "InternalError"), 3},
		{"503", s3test.Match{}, s3test.Status(503, "SlowDown"), 3},
		{"broken connections", s3test.Match{}, s3test.Reset(), 3},
		{"lost answers to writes", s3test.Match{Method: "PUT"}, s3test.LoseAnswer(), 1},
		{"answers that are too short", s3test.Match{Method: "GET", Key: "vol/f"}, s3test.Truncate(1000), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, p := proxied(t)
			content := strings.Repeat("0123456789abcdef", 1<<16)
			p.Add(s3test.Rule{Match: c.match, Times: c.times, Fault: c.fault})
			write(t, v.Path("f"), content)
			p.Add(s3test.Rule{Match: c.match, Times: c.times, Fault: c.fault})
			if string(v.object(t, "vol/f")) != content {
				t.Error("the store has something else")
			}
			w := v.again(t, coldfstest.Options{Endpoint: p.Endpoint})
			if read(t, w.Path("f")) != content {
				t.Error("it is read otherwise")
			}
		})
	}
}

// When nobody answers it is an error, in bounded time, and it ends with the cause.
func TestAStoreThatIsGone(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: func(c *config.Config) { c.MetadataTTL = 0 }})
	write(t, v.Path("before"), "content")
	f, err := os.Create(v.Path("open"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("written while it was there"); err != nil {
		t.Fatal(err)
	}
	v.server.Kill()
	if _, err := os.ReadFile(v.Path("before")); !errors.Is(err, unix.EIO) {
		t.Errorf("open: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("fsync: %v", err)
	}
	v.Await(t, control.EndpointUnreachable)
	v.server.Start(t)
	if err := f.Sync(); err != nil {
		t.Errorf("fsync when it is back: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	v.Await(t)
	if got := string(v.object(t, "vol/open")); got != "written while it was there" {
		t.Errorf("DATA MISMATCH: the store has %q", got)
	}
}

// A store that stands still holds up who needs it, and nobody else; and who is killed gets away.
func TestAStoreThatStandsStill(t *testing.T) {
	v, p := proxied(t)
	write(t, v.Path("f"), "content")
	// More than there are places for reads, of which some wait for their turn.
	const readers = 100
	for k := range readers {
		v.put(t, fmt.Sprintf("vol/stuck%d", k), "never read")
	}
	still := make(chan struct{})
	stall := p.Add(s3test.Rule{Match: s3test.Match{Method: "GET", If: func(r s3test.Request) bool { return strings.HasPrefix(r.Key, "vol/stuck") }}, Fault: s3test.Delay(still)})
	var stuck []*exec.Cmd
	for k := range readers {
		cmd := exec.Command("cat", v.Path(fmt.Sprintf("stuck%d", k)))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stuck = append(stuck, cmd)
	}
	eventually(t, func() error {
		if opened := p.Count(s3test.Match{Method: "HEAD", If: func(r s3test.Request) bool { return strings.HasPrefix(r.Key, "vol/stuck") }}); opened < 2*readers || stall.Hits() == 0 {
			return fmt.Errorf("%d files were opened, %d reads stand still", opened, stall.Hits())
		}
		return nil
	})
	// Names, attributes, writes and commits go on.
	if info, err := os.Stat(v.Path("f")); err != nil || info.Size() != 7 {
		t.Errorf("stat: %v, %v", info, err)
	}
	write(t, v.Path("g"), "written meanwhile")
	if got := string(v.object(t, "vol/g")); got != "written meanwhile" {
		t.Errorf("DATA MISMATCH: the store has %q", got)
	}
	for _, cmd := range stuck {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range stuck {
		_ = cmd.Wait() // it returns only when the kernel has let go of the process
	}
	// What the kernel reads ahead is nobody's, and goes on until the store moves or the client gives up.
	close(still)
	if got := read(t, v.Path("f")); got != "content" {
		t.Errorf("DATA MISMATCH: afterwards it reads %q", got)
	}
}

func TestAReadOnlyVolume(t *testing.T) {
	a := mount(t, coldfstest.Options{})
	write(t, a.Path("f"), "content")
	b := a.again(t, coldfstest.Options{Config: func(c *config.Config) { c.ReadOnly = true }})
	// A mount that isn't read-only itself, as when it was changed: the engine refuses too.
	if err := unix.Mount("", b.Dir, "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"create":   os.WriteFile(b.Path("new"), nil, 0o644),
		"write":    os.WriteFile(b.Path("f"), nil, 0o644),
		"truncate": os.Truncate(b.Path("f"), 0),
		"mkdir":    os.Mkdir(b.Path("d"), 0o755),
		"remove":   os.Remove(b.Path("f")),
		"rename":   os.Rename(b.Path("f"), b.Path("g")),
		"chmod":    os.Chmod(b.Path("f"), 0o600),
		"symlink":  os.Symlink("a", b.Path("l")),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := read(t, b.Path("f")); got != "content" {
		t.Errorf("it reads %q", got)
	}
}

func TestQuota(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: func(c *config.Config) { c.Capacity, c.EnforceQuota = 1<<20, true }})
	big := make([]byte, 600<<10)
	if err := os.WriteFile(v.Path("one"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.Path("two"), big, 0o644); !errors.Is(err, unix.EDQUOT) {
		t.Errorf("past the quota: %v", err)
	}
	var st unix.Statfs_t
	eventually(t, func() error {
		if err := unix.Statfs(v.Dir, &st); err != nil {
			return err
		}
		if total, free := st.Blocks*uint64(st.Bsize), st.Bavail*uint64(st.Bsize); total != 1<<20 || free > 1<<20-600<<10 {
			return fmt.Errorf("df shows %d of %d bytes free", free, total)
		}
		return nil
	})
	if err := os.Remove(v.Path("one")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.Path("three"), big, 0o644); err != nil {
		t.Errorf("after something was removed: %v", err)
	}
}

// SIGTERM commits what is open.
func TestTerminate(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	f, err := os.Create(v.Path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("not closed"); err != nil {
		t.Fatal(err)
	}
	if err := v.Terminate(); err != nil {
		t.Error(err)
	}
	if got := string(v.object(t, "vol/f")); got != "not closed" {
		t.Errorf("DATA MISMATCH: the store has %q", got)
	}
	if _, err := f.WriteString("more"); err == nil {
		t.Error("a write to a mount without an engine succeeds")
	}
}

// Whenever the engine dies: what close() or fsync() said is stored is stored, whole.
func TestAKilledEngineLosesNothingThatWasStored(t *testing.T) {
	server := s3test.Start(t)
	bucket, name := newBucket(t, server)
	cache := t.TempDir()
	for round := range 4 {
		m := coldfstest.Start(t, server, name, coldfstest.Options{Config: func(c *config.Config) { c.CacheDir = cache }})
		v := &volume{m, server, bucket, name}
		type done struct {
			name string
			size int
		}
		stored := make(chan done, 100_000)
		ended := make(chan struct{})
		const writers = 4
		// Without its engine the mount is gone, and so is this directory: who writes on fails.
		if err := os.MkdirAll(v.Path("d"), 0o755); err != nil {
			t.Fatal(err)
		}
		for w := range writers {
			go func() {
				defer func() { ended <- struct{}{} }()
				for k := 0; ; k++ {
					size := 1 + (k*7919+w)%200_000
					if k%10 == 9 {
						size += 9 << 20 // of more than one part
					}
					file := fmt.Sprintf("r%dw%d-%d", round, w, k)
					if err := os.WriteFile(v.Path("d", file), bytes.Repeat([]byte{byte(k), byte(w), byte(round)}, size), 0o644); err != nil {
						return
					}
					stored <- done{file, 3 * size}
				}
			}()
		}
		// Killed in the middle of what goes on: after so many files.
		eventually(t, func() error {
			if len(stored) < 10+13*round {
				return fmt.Errorf("only %d files are stored", len(stored))
			}
			return nil
		})
		v.Kill()
		for range writers {
			<-ended
		}
		close(stored)
		n := 0
		for d := range stored {
			n++
			got := v.object(t, "vol/d/"+d.name)
			var k, w int
			if _, err := fmt.Sscanf(d.name, fmt.Sprintf("r%dw%%d-%%d", round), &w, &k); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, bytes.Repeat([]byte{byte(k), byte(w), byte(round)}, d.size/3)) {
				t.Errorf("DATA MISMATCH: round %d: %s has %d bytes in the store, want %d, or others", round, d.name, len(got), d.size)
			}
		}
		t.Logf("round %d: %d files", round, n)
	}
	// The next engine clears away what the dead ones left.
	coldfstest.Start(t, server, name, coldfstest.Options{Config: func(c *config.Config) { c.CacheDir = cache }})
	eventually(t, func() error {
		uploads, err := bucket.Uploads(t.Context(), "vol/")
		if err == nil && len(uploads) > 0 {
			err = fmt.Errorf("unfinished uploads are left: %v", uploads)
		}
		return err
	})
}
