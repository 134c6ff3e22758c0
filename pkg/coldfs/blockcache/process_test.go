package blockcache

// Several processes at once, and their deaths. The processes are this test's program.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The environment of a helper process.
const (
	helperMode = "BLOCKCACHE_HELPER" // work: everything at random, for ever; once: the same few steps; pin: pins a file and sends it to descriptor 3
	helperDir  = "BLOCKCACHE_DIR"
	helperSeed = "BLOCKCACHE_SEED"
)

const (
	workVersions = 24
	workLimit    = 12 << 20 // less than all versions have
)

// workVersion is one of the object versions that helpers use, and its size: some of one small block, some of many.
func workVersion(n int) (ID, int64) {
	size := int64(1000 * (n + 1))
	if n%2 == 0 {
		size += int64(n) * testBlock
	}
	return version(fmt.Sprint("work", n%8), n), size
}

func workOptions(dir string) Options {
	return Options{Dir: dir, Limit: workLimit, BlockSize: testBlock, TrimEvery: 10 * time.Millisecond}
}

func helper(mode string) error {
	dir := os.Getenv(helperDir)
	seed, err := strconv.ParseUint(os.Getenv(helperSeed), 10, 64)
	if err != nil {
		return err
	}
	o := workOptions(dir)
	if seed%2 == 0 {
		o.Volume, o.Share = "even", workLimit/3
	}
	if mode == "once" {
		o.Limit = 600 << 10
	}
	c, err := Open(o)
	if err != nil {
		return err
	}
	fmt.Println("open")
	switch mode {
	case "once":
		return once(c)
	case "pin":
		return pinAndSend(c)
	}
	// Two goroutines, so that processes also die between the steps of two.
	failed := make(chan error)
	for i := range uint64(2) {
		go func() {
			r := rand.New(rand.NewPCG(seed, i))
			for {
				if err := workStep(c, r); err != nil {
					failed <- err
					return
				}
				fmt.Println("step")
			}
		}()
	}
	return <-failed
}

// workStep does one thing at random and compares every byte it gets.
func workStep(c *Cache, r *rand.Rand) error {
	v, size := workVersion(r.IntN(workVersions))
	o, err := c.Object(v, size)
	if err != nil {
		return err
	}
	defer o.Close()
	block := r.Int64N(o.blocks)
	switch r.IntN(8) {
	case 0, 1, 2:
		putBlock(o, v, block)
	case 3:
		for b := range o.blocks {
			putBlock(o, v, b)
		}
	case 4:
		if err := o.Check(context.Background()); err != nil && !errors.Is(err, ErrIncomplete) {
			return err
		}
		f, release, err := o.Pin()
		if errors.Is(err, ErrIncomplete) {
			return nil
		}
		if err != nil {
			return err
		}
		defer release()
		for range 3 {
			if err := compare(io.NewSectionReader(f, 0, size), v, size); err != nil {
				return fmt.Errorf("pinned: %w", err)
			}
		}
	default:
		p := make([]byte, 1+r.IntN(3*testBlock))
		off := r.Int64N(size)
		n := o.ReadAt(p, off)
		if i := differs(p[:n], v, off); i >= 0 {
			return fmt.Errorf("DATA MISMATCH: %s/%s: wrong byte at %d", v.Key, v.ETag, off+int64(i))
		}
	}
	if h := c.Health(); errors.Is(h, ErrFailing) {
		return h
	}
	return nil
}

func compare(r io.ReaderAt, v ID, size int64) error {
	p := make([]byte, size)
	if _, err := r.ReadAt(p, 0); err != nil {
		return err
	}
	if i := differs(p, v, 0); i >= 0 {
		return fmt.Errorf("DATA MISMATCH: wrong byte at %d", i)
	}
	return nil
}

// process is a running helper.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner
}

func start(t testing.TB, mode, dir string, seed int, env ...string) *process {
	t.Helper()
	return startWith(t, nil, mode, dir, seed, env...)
}

func startWith(t testing.TB, files []*os.File, mode, dir string, seed int, env ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperMode+"="+mode, helperDir+"="+dir, helperSeed+"="+strconv.Itoa(seed))
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = t.Output()
	cmd.ExtraFiles = files
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, bufio.NewScanner(out)}
	t.Cleanup(p.kill)
	return p
}

// steps waits for n lines of the helper; false: it ended before.
func (p *process) steps(n int) bool {
	for range n {
		if !p.lines.Scan() {
			return false
		}
	}
	return true
}

func (p *process) kill() {
	if p.ProcessState == nil {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
}

func TestProcessesDieAtAnyTime(t *testing.T) {
	dir := t.TempDir()
	seed := rand.IntN(1 << 30)
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	c := openCache(t, workOptions(dir))
	procs := make([]*process, 3)
	for i := range procs {
		seed++
		procs[i] = start(t, "work", dir, seed)
	}
	for round := range 25 {
		i := r.IntN(len(procs))
		for k := range procs {
			n := 1 // the others' pipes are emptied too, lest they stand still
			if k == i {
				n = 1 + r.IntN(40)
			}
			if !procs[k].steps(n) {
				t.Fatalf("round %d: a helper failed: %v", round, procs[k].Wait())
			}
		}
		for range 5 {
			if err := workStep(c, r); err != nil {
				t.Fatal(err)
			}
		}
		procs[i].kill()
		if n := diskUse(t, dir); n > workLimit {
			t.Fatalf("%d bytes on the disk, limit %d", n, workLimit)
		}
		seed++
		procs[i] = start(t, "work", dir, seed)
	}
	for _, p := range procs {
		p.kill()
	}
	// This process has lived all the time: it cleans up after the others.
	if err := c.change(func() error { c.sweep(); return nil }); err != nil {
		t.Fatal(err)
	}
	inspect(t, c)
	if c.x.head.writing != 0 {
		t.Errorf("%d bytes are still being written", c.x.head.writing)
	}
	found := 0
	for n := range workVersions {
		v, size := workVersion(n)
		found += len(has(t, openObject(t, c, v, size), v))
	}
	if found == 0 || c.Stats().Corrupt != 0 {
		t.Errorf("%d blocks are left; stats %+v", found, c.Stats())
	}
}

func TestAStoppedProcessStopsNobodysReads(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, workOptions(dir))
	v := version("a", 1)
	o := openObject(t, c, v, 3*testBlock)
	mustPut(t, o, v, 0, 1)
	// Another holds the lock of the index and doesn't let go.
	other := openCache(t, workOptions(dir))
	held, letGo, done := make(chan struct{}), make(chan struct{}), make(chan bool)
	go func() {
		_ = other.change(func() error { close(held); <-letGo; return nil })
	}()
	<-held
	go func() { done <- putBlock(o, v, 2) }()
	fresh, err := c.Object(version("b", 1), 10)
	if err != nil {
		t.Fatal(err)
	}
	if n := fresh.ReadAt(make([]byte, 10), 0); n != 0 {
		t.Errorf("read %d bytes", n)
	}
	fresh.Close()
	if got := fmt.Sprint(has(t, o, v)); got != "[0 1]" || o.Complete() {
		t.Errorf("blocks %s while another has the lock", got)
	}
	close(letGo)
	if !<-done {
		t.Error("the block isn't kept after all")
	}
}

// once puts a few blocks into a cache for three, so that some go.
func once(c *Cache) error {
	for round := range 3 {
		for n := range 5 {
			v, size := workVersion(n)
			o, err := c.Object(v, size)
			if err != nil {
				return err
			}
			for b := range o.blocks {
				putBlock(o, v, b)
			}
			if round == 2 {
				_ = o.Check(context.Background())
			}
			o.Close()
		}
	}
	c.Close()
	return nil
}

const pinned = 10 // the version that helpers pin

// pinAndSend fills and pins a file, and hands its descriptor on, as an engine does whose holder registers it with the kernel.
func pinAndSend(c *Cache) error {
	v, size := workVersion(pinned)
	o, err := c.Object(v, size)
	if err != nil {
		return err
	}
	for b := range o.blocks {
		if !putBlock(o, v, b) {
			return c.Health()
		}
	}
	f, _, err := o.Pin()
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(3, []byte{1}, unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
		return err
	}
	select {}
}

// TestAPinOutlivesItsProcess kills the process that pinned a file: the descriptor that it handed on still keeps every other process from taking a byte.
func TestAPinOutlivesItsProcess(t *testing.T) {
	dir := t.TempDir()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer func() { _ = unix.Close(pair[0]) }()
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	pinner := startWith(t, []*os.File{theirs}, "pin", dir, 1)
	check(t, theirs.Close())
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	check(t, err)
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	check(t, err)
	if len(messages) != 1 {
		t.Fatalf("%d messages: the helper failed", len(messages))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	check(t, err)
	f := os.NewFile(uintptr(fds[0]), "pinned")
	v, size := workVersion(pinned)

	pinner.kill()
	c := openCache(t, workOptions(dir))
	o := openObject(t, c, v, size)
	w := version("other", 1)
	ow := openObject(t, c, w, 1000*testBlock)
	for b := range int64(300) { // three times the limit
		mustPut(t, ow, w, b)
	}
	check(t, compare(f, v, size))
	if !o.Complete() {
		t.Error("blocks of the pinned file are gone")
	}
	check(t, f.Close())
	for b := range int64(300) {
		mustPut(t, ow, w, 300+b)
	}
	if got := has(t, o, v); len(got) != 0 {
		t.Errorf("blocks %v are left after the pin", got)
	}
	inspect(t, c)
}
