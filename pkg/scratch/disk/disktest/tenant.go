package disktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// tenantID is the user and group the tenant is: nobody.
const tenantID = 65534

const tenantVariable = "STRATA_DISKTEST_TENANT"

// Attack is what a tenant tries in its volume to get more than its size, or to take from others.
type Attack string

// The attacks.
const (
	Fill        Attack = "fill"        // one file, written until it fails
	SmallFiles  Attack = "small files" // files below the size of a block, which some file systems keep in their metadata
	Sparse      Attack = "sparse"      // a file far larger than the volume, written here and there
	Fallocate   Attack = "fallocate"   // more than the volume, at once and bit by bit
	Punch       Attack = "punch"       // fill, and give it back by holes, over and over
	Project     Attack = "project"     // other project ids for the directory and its files, as chattr -p
	Subvolumes  Attack = "subvolumes"  // nested btrfs subvolumes and snapshots of them
	Trim        Attack = "trim"        // fstrim
	Overwrite   Attack = "overwrite"   // the same blocks again and again, which a copying file system holds twice
	Unlinked    Attack = "unlinked"    // files that are open and have no name
	attackCheck Attack = "check"       // read what was written before
)

type request struct {
	Attack Attack
	Size   int64 // the volume's, bytes
}

// result is what came of a request.
type result struct {
	Held   int64         // the most bytes that the tenant had in the volume, durable, at one moment
	Errno  syscall.Errno // of the call that ended it
	Denied syscall.Errno // of the attack's own call, where it has one; 0: it worked
	Fault  string        // the tenant itself didn't work
}

// Main is what TestMain of a package calls that uses Conform: it runs the tests, or is their tenant.
func Main(m *testing.M) {
	text, ok := os.LookupEnv(tenantVariable)
	if !ok {
		os.Exit(m.Run())
	}
	var r result
	var q request
	if err := errors.Join(json.Unmarshal([]byte(text), &q), poor(), unix.Fchdir(3), unix.Close(3)); err != nil {
		r.Fault = err.Error()
	} else {
		r = q.run()
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// poor makes sure that the tenant is who it should be.
func poor() error {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(l, "CapEff:"); ok && strings.Trim(v, " \t\n0") != "" {
			return fmt.Errorf("the tenant has capabilities %s", v)
		}
	}
	if os.Geteuid() != tenantID {
		return fmt.Errorf("the tenant is user %d", os.Geteuid())
	}
	return nil
}

// tenant lets the tenant do what is asked in the directory.
func (f *fixture) tenant(dir string, attack Attack, size int64) result {
	f.T.Helper()
	d, err := os.Open(dir)
	f.ok("open", err)
	defer d.Close()
	ask, err := json.Marshal(request{attack, size})
	f.ok("marshal", err)
	self, err := os.Executable()
	f.ok("this program", err)
	// Its file may lie where the tenant can't go: it is handed over open.
	program, err := os.Open(self)
	f.ok("this program", err)
	defer program.Close()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(f.Context(), "/proc/self/fd/4", "-test.run=^$")
	cmd.Env = []string{tenantVariable + "=" + string(ask)}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{d, program}
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tenantID, Gid: tenantID}}
	err = cmd.Run()
	var r result
	if jerr := json.Unmarshal(out.Bytes(), &r); err != nil || jerr != nil {
		f.Fatalf("the tenant (does TestMain call disktest.Main?): %v, %v\n%s%s", err, jerr, out.Bytes(), errs.Bytes())
	}
	if r.Fault != "" {
		f.Fatalf("the tenant, %s: %s", attack, r.Fault)
	}
	return r
}

const (
	unit  = 1 << 20  // bytes of one write
	batch = 8 * unit // bytes between two calls of fsync
)

// noise is what no file system makes smaller.
var noise = func() []byte {
	b := make([]byte, unit)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}()

func (q request) run() (r result) {
	defer func() {
		if e := recover(); e != nil {
			r.Fault = fmt.Sprint(e)
		}
	}()
	switch q.Attack {
	case Fill:
		r.Held, r.Errno = q.fill("fill", 0)
	case SmallFiles:
		r.Held, r.Errno = q.smallFiles()
	case Sparse:
		r.Held, r.Errno = q.sparse()
	case Fallocate:
		r = q.fallocate()
	case Punch:
		r = q.punch()
	case Project:
		r = q.project()
	case Subvolumes:
		r = q.subvolumes()
	case Trim:
		r.Held, r.Errno = q.fill("before", 0)
		must(os.Remove("before"))
		r.Denied = number(trim("."))
	case Overwrite:
		r.Held, r.Errno = q.overwrite()
	case Unlinked:
		r.Held, r.Errno = q.unlinked()
	case attackCheck:
		r.Held, r.Errno = readBack("fill")
	default:
		r.Fault = "there is no such attack"
	}
	return r
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func number(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	var n syscall.Errno
	if !errors.As(err, &n) {
		panic(err)
	}
	return n
}

// enough is when a tenant has shown that there is no limit.
func (q request) enough() int64 { return q.Size + q.Size/4 + 4*unit }

// fill writes a file until it fails; held is what others hold already.
func (q request) fill(name string, held int64) (int64, syscall.Errno) {
	return grab(name, held, q.enough())
}

// grab is fill up to the end that is named.
func grab(name string, held, end int64) (int64, syscall.Errno) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return held, number(err)
	}
	defer f.Close()
	errno := pour(f, &held, end)
	return held, errno
}

// pour appends to a file until it fails or held has reached the end. Only what was synced counts as held.
func pour(f *os.File, held *int64, end int64) syscall.Errno {
	for pending := int64(0); *held < end; {
		n, err := f.Write(noise)
		pending += int64(n)
		if err == nil && pending < batch && *held+pending < end {
			continue
		}
		if serr := f.Sync(); serr != nil {
			return number(serr)
		}
		*held, pending = *held+pending, 0
		if err != nil {
			return number(err)
		}
	}
	return 0
}

func readBack(name string) (held int64, errno syscall.Errno) {
	f, err := os.Open(name)
	if err != nil {
		return 0, number(err)
	}
	defer f.Close()
	// Nothing may come from memory.
	must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	b := make([]byte, unit)
	for {
		n, err := f.Read(b)
		if n == 0 {
			if err != nil && err.Error() != "EOF" {
				return held, number(err)
			}
			return held, 0
		}
		at := held % unit
		if int64(n)+at > unit || !bytes.Equal(b[:n], noise[at:at+int64(n)]) {
			return held, unix.EILSEQ
		}
		held += int64(n)
	}
}

// smallFiles counts what the files hold, which is less than what they cost.
func (q request) smallFiles() (held int64, errno syscall.Errno) {
	const length = 1900
	for i := 0; held < q.enough(); i++ {
		if i%1000 == 0 {
			if err := os.Mkdir(fmt.Sprintf("d%d", i/1000), 0o700); err != nil {
				return held, number(err)
			}
			syncAll()
		}
		name := fmt.Sprintf("d%d/%d", i/1000, i)
		if err := os.WriteFile(name, noise[i%1000:i%1000+length], 0o600); err != nil {
			return held, number(err)
		}
		held += length
	}
	return held, 0
}

// syncAll makes everything in the volume durable.
func syncAll() {
	d, err := os.Open(".")
	must(err)
	defer d.Close()
	must(unix.Syncfs(int(d.Fd())))
}

func (q request) sparse() (held int64, errno syscall.Errno) {
	f, err := os.Create("sparse")
	must(err)
	defer f.Close()
	// Each bit of data lies alone; the file claims 64 times the volume.
	if err := f.Truncate(64 * q.Size); err != nil {
		return 0, number(err)
	}
	const bit = 64 << 10
	step, pending := int64(bit*32), int64(0)
	for at := int64(0); held < q.enough(); at += step {
		_, err := f.WriteAt(noise[:bit], at%(64*q.Size))
		if err == nil {
			pending += bit
		}
		if err == nil && pending < batch/8 {
			continue
		}
		if serr := f.Sync(); serr != nil {
			return held, number(serr)
		}
		held, pending = held+pending, 0
		if err != nil {
			return held, number(err)
		}
	}
	return held, 0
}

// allocated is what a file system says a file occupies.
func allocated(f *os.File) int64 {
	var s unix.Stat_t
	must(unix.Fstat(int(f.Fd()), &s))
	return s.Blocks * 512
}

func (q request) fallocate() (r result) {
	f, err := os.Create("allocated")
	must(err)
	defer f.Close()
	r.Denied = number(unix.Fallocate(int(f.Fd()), 0, 0, 2*q.Size))
	r.Held = allocated(f)
	must(f.Truncate(0))
	for at := int64(0); at < q.enough(); at += unit {
		r.Errno = number(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, at, unit))
		if r.Errno != 0 {
			break
		}
	}
	must(f.Sync())
	r.Held = max(r.Held, allocated(f))
	return r
}

func (q request) punch() (r result) {
	for range 3 {
		held, errno := q.fill("holes", 0)
		r.Held, r.Errno = max(r.Held, held), errno
		if errno == 0 {
			return r
		}
		f, err := os.OpenFile("holes", os.O_WRONLY, 0)
		must(err)
		r.Denied = number(unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, held+unit))
		must(f.Sync())
		if err := f.Truncate(0); err != nil { // btrfs has no room for the change itself
			must(os.Remove("holes"))
		}
		must(f.Close())
	}
	return r
}

func (q request) project() (r result) {
	must(os.Mkdir("other", 0o700))
	r.Denied = number(setProject("other", 4242))
	for _, p := range []uint32{0, 4242, 1} { // errors are as good as limits here
		_ = setProject(".", p)
		_ = setProject("other", p)
	}
	// What is written is given to no project, and the next file begins with what that freed.
	for i := 0; ; i++ {
		name := fmt.Sprintf("other/%d", i)
		before := r.Held
		end := min(q.enough(), r.Held+q.Size/4)
		f, err := os.Create(name)
		if err != nil {
			r.Errno = number(err)
			return r
		}
		_ = setProject(name, 0)
		r.Errno = pour(f, &r.Held, end)
		must(f.Close())
		_ = setProject(name, 4242+uint32(i))
		if r.Errno != 0 && r.Held == before || r.Held >= q.enough() {
			return r
		}
	}
}

func (q request) subvolumes() (r result) {
	dir := "."
	for i := range 5 {
		name := fmt.Sprintf("nested%d", i)
		if r.Denied = number(subvolume(dir, name)); r.Denied != 0 {
			break
		}
		dir = filepath.Join(dir, name)
		r.Held, r.Errno = grab(filepath.Join(dir, "data"), r.Held, r.Held+q.Size/8)
		// The snapshot keeps what the origin gives away.
		if err := snapshot(dir, ".", fmt.Sprintf("snapshot%d", i)); err == nil {
			_ = os.Remove(filepath.Join(dir, "data"))
		}
		if r.Errno == 0 {
			r.Held, r.Errno = grab(filepath.Join(dir, "more"), r.Held, r.Held+q.Size/8)
		}
	}
	r.Held, r.Errno = grab(filepath.Join(dir, "rest"), r.Held, q.enough())
	return r
}

// overwrite holds half of the volume, which is what is counted: the limit is not to be passed by writing it again.
func (q request) overwrite() (held int64, errno syscall.Errno) {
	f, err := os.Create("overwritten")
	must(err)
	defer f.Close()
	for range 4 {
		for at := int64(0); at < q.Size/2; at += unit {
			if _, err := f.WriteAt(noise, at); err != nil {
				return held, number(err)
			}
			held = max(held, at+unit)
		}
		if err := f.Sync(); err != nil {
			return held, number(err)
		}
	}
	return q.fill("rest", held)
}

func (q request) unlinked() (held int64, errno syscall.Errno) {
	var open []*os.File
	defer func() {
		for _, f := range slices.Backward(open) {
			_ = f.Close()
		}
	}()
	for held < q.enough() {
		f, err := os.Create("unlinked")
		if err != nil {
			return held, number(err)
		}
		open = append(open, f)
		must(os.Remove("unlinked"))
		if errno = pour(f, &held, held+q.Size/8); errno != 0 {
			return held, errno
		}
	}
	return held, 0
}
