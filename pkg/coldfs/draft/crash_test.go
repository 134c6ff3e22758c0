package draft

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// childEnv has what a child process of these tests is to do.
const childEnv = "STRATA_TEST_DRAFT_CHILD"

type childTask struct {
	Endpoint, Key, Secret string
	Dir, Owner            string
	Seed                  uint64
	Stay                  bool // send parts and wait
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child writes and commits at random, and says before and after each commit which content it is of. It ends with its standard input.
func child(text string) error {
	var c childTask
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	b, err := s3.Open(s3.Location{Endpoint: c.Endpoint, PathStyle: true, Bucket: "bucket"}, func() s3.Credentials {
		return s3.Credentials{AccessKeyID: c.Key, SecretAccessKey: c.Secret}
	}, s3.Options{})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	s, err := NewStore(Options{Bucket: b, Owner: c.Owner, Dir: c.Dir})
	if err != nil {
		return err
	}
	ctx := context.Background()
	g := rand.New(rand.NewPCG(c.Seed, 9))
	if c.Stay {
		d, err := s.Open("stay", nil)
		if err != nil {
			return err
		}
		for off := int64(0); off < 20*mib; off += mib {
			if _, err := d.WriteAt(ctx, make([]byte, mib), off); err != nil {
				return err
			}
		}
		d.mu.Lock()
		for d.upload == nil || len(d.upload.sent) < 2 {
			if err := d.wait(ctx); err != nil {
				return err
			}
		}
		d.mu.Unlock()
		fmt.Println("ready")
		select {}
	}
	var d *Draft
	var want []byte
	if o, err := b.Head(ctx, "k"); err == nil {
		d, err = s.Open("k", &o)
		if err != nil {
			return err
		}
		want = make([]byte, o.Size)
		if _, err := d.ReadAt(ctx, want, 0); err != nil && err != io.EOF {
			return err
		}
	} else if d, err = s.Open("k", nil); err != nil {
		return err
	}
	for {
		for range 1 + g.IntN(5) {
			off := min(g.IntN(25*mib), len(want)+mib)
			p := random(g.Uint64(), 1+g.IntN(2*mib))
			if _, err := d.WriteAt(ctx, p, int64(off)); err != nil {
				return err
			}
			if n := off + len(p); n > len(want) {
				want = append(want, make([]byte, n-len(want))...)
			}
			copy(want[off:], p)
		}
		sum := sha256.Sum256(want)
		fmt.Printf("begin %x\n", sum)
		if _, err := d.Commit(ctx); err != nil {
			return err
		}
		fmt.Printf("done %x\n", sum)
	}
}

// start starts a child, which is killed at the end of the test at the latest.
func (r *remote) start(t *testing.T, c childTask) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c.Endpoint, c.Key, c.Secret = r.server.Endpoint, r.server.Credentials.AccessKeyID, r.server.Credentials.SecretAccessKey
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	return cmd, bufio.NewScanner(out)
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// A process that is killed at any moment loses nothing that it had committed: the object is the last that was done, or the one that was begun after it.
func TestWhatWasCommittedSurvivesAKill(t *testing.T) {
	r := newRemote(t)
	dir := t.TempDir()
	g := rand.New(rand.NewPCG(*seed, 10))
	last := ""
	for round := range uint64(8) {
		cmd, lines := r.start(t, childTask{Dir: dir, Owner: "volume", Seed: *seed<<8 + round})
		begun := ""
		for range 1 + g.IntN(12) {
			if !lines.Scan() {
				t.Fatal("the child has ended by itself")
			}
			what, sum, _ := strings.Cut(lines.Text(), " ")
			if begun = sum; what == "done" {
				last, begun = sum, ""
			}
		}
		_ = cmd.Process.Kill()
		for lines.Scan() { // what it said before it died
			what, sum, _ := strings.Cut(lines.Text(), " ")
			if begun = sum; what == "done" {
				last, begun = sum, ""
			}
		}
		kill(cmd)
		if last == "" && begun == "" {
			continue
		}
		if _, err := r.b.Head(t.Context(), "k"); err != nil && last == "" {
			continue // killed in its first commit
		}
		got := fmt.Sprintf("%x", sha256.Sum256(r.content(t, "k")))
		if got != last && got != begun {
			t.Fatalf("DATA MISMATCH: round %d: the object is neither what was committed last nor what was being committed", round)
		}
		last = got
	}
	if last == "" {
		t.Fatal("nothing was committed")
	}
	// What the dead have left goes with the next start.
	s := r.store(t, func(o *Options) { o.Dir = dir })
	<-s.cleaned
	if left, err := filepath.Glob(filepath.Join(dir, "*", lockName)); err != nil || len(left) != 1 {
		t.Errorf("directories of stores: %v, %v", left, err)
	}
}

func TestADeadStoresFilesAndUploadsAreRemovedAndALivingOnesStay(t *testing.T) {
	r := newRemote(t)
	dir := t.TempDir()
	dead, out := r.start(t, childTask{Dir: dir, Owner: "volume", Stay: true})
	if !out.Scan() {
		t.Fatal("the child has ended")
	}
	stranger, out := r.start(t, childTask{Dir: dir, Owner: "stranger", Stay: true})
	if !out.Scan() {
		t.Fatal("the child has ended")
	}
	_, out = r.start(t, childTask{Dir: dir, Owner: "volume", Stay: true}) // lives on
	if !out.Scan() {
		t.Fatal("the child has ended")
	}
	if n := len(r.uploads(t)); n != 3 {
		t.Fatalf("%d uploads, want 3", n)
	}
	kill(dead)
	kill(stranger)

	// The store doesn't answer at first: what can't be done now is done later.
	r.proxy.Add(s3test.Rule{Fault: s3test.Status(503, "SlowDown")})
	s := r.store(t, func(o *Options) { o.Dir = dir })
	<-s.cleaned
	s.Close()
	r.proxy.Clear()
	staged := func() int {
		files, err := filepath.Glob(filepath.Join(dir, "*", "1"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	if n := staged(); n != 1 {
		t.Errorf("%d staged files, one is of a living process", n)
	}
	s = r.store(t, func(o *Options) { o.Dir = dir })
	<-s.cleaned
	if n := len(r.uploads(t)); n != 2 {
		t.Errorf("%d uploads, want those of the living and of the stranger", n)
	}
	s = r.store(t, func(o *Options) { o.Dir, o.Owner = dir, "stranger" })
	<-s.cleaned
	if n := len(r.uploads(t)); n != 1 {
		t.Errorf("%d uploads, want that of the living", n)
	}
	if n := staged(); n != 1 {
		t.Errorf("%d staged files, one is of a living process", n)
	}
}
