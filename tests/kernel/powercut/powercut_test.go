//go:build lab

package powercut

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/scratch/btrfs"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

const (
	size       = 32 * mib
	dyingEnv   = "STRATA_POWERCUT_DYING" // "KIND VOLUME make|destroy"
	begun      = "from here on it counts"
	capacityOf = "STRATA_POWERCUT_CAPACITY_"
	leftBy     = "STRATA_POWERCUT_LEFT_"
)

var mark = bytes.Repeat([]byte("before the power cut "), int(mib)/21)

// TestDying makes or destroys one volume and is killed on the way, by STRATA_FAILPOINT.
func TestDying(t *testing.T) {
	words := strings.Fields(os.Getenv(dyingEnv))
	if len(words) != 3 {
		return // TestBefore starts it with something to do
	}
	i := slices.IndexFunc(all, func(k kind) bool { return string(k.name) == words[0] })
	d := all[i].disk(t)
	fmt.Println(begun)
	if words[2] == "make" {
		must(t, d.Create(t.Context(), disk.Spec{Name: words[1], Size: size}))
	} else {
		must(t, d.Destroy(t.Context(), words[1], all[i].wipe))
	}
	t.Fatal("it was not killed")
}

// die lets another process be killed at a step. A Probe passes some of the steps too: then it is the next time that counts.
func (k kind) die(t *testing.T, step, name, what string) {
	t.Helper()
	for n := 1; ; n++ {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestDying$")
		cmd.Env = append(os.Environ(), dyingEnv+"="+string(k.name)+" "+name+" "+what, fmt.Sprintf("STRATA_FAILPOINT=%s=%d", step, n))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
			t.Fatalf("%s at %s (%d): %v, not killed: %s", what, step, n, err, out)
		}
		if bytes.Contains(out, []byte(begun)) {
			return
		}
	}
}

// TestBefore leaves volumes in every phase and waits for the end of the machine.
func TestBefore(t *testing.T) {
	if !failpoint.Enabled {
		t.Fatal("built without the tag failpoint")
	}
	for _, k := range kinds(t) {
		k.format(t)
	}
	mountPlaces(t)
	var busy []func()
	round, late := make(chan error), 0
	for _, k := range kinds(t) {
		d := k.disk(t)
		c, err := d.Capacity(t.Context())
		must(t, err)
		fmt.Printf("capacity %s %d\n", k.name, c)
		for i, step := range k.creating {
			k.die(t, step, fmt.Sprintf("creating-%d", i), "make")
		}
		for i, step := range k.destroying {
			name := fmt.Sprintf("destroying-%d", i)
			must(t, d.Create(t.Context(), disk.Spec{Name: name, Size: size}))
			k.die(t, step, name, "destroy")
		}
		must(t, d.Create(t.Context(), disk.Spec{Name: "ready", Size: size}))
		must(t, d.Create(t.Context(), disk.Spec{Name: "mounted", Size: size}))
		path := filepath.Join(t.TempDir(), "mounted")
		must(t, os.Mkdir(path, 0o755))
		must(t, d.Mount(t.Context(), "mounted", disk.Mount{Path: path}))
		must(t, write(path+"/durable", true))
		k.tellLeft(t, d)
		busy = append(busy, func() {
			for {
				_ = write(path+"/writing", false)
			}
		}, func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("churn-%d", i%2)
				err := d.Create(t.Context(), disk.Spec{Name: name, Size: size})
				err = errors.Join(err, d.Destroy(t.Context(), name, k.wipe))
				if i == 0 && k.late {
					round <- err
				}
			}
		})
		if k.late {
			late++
		}
	}
	for _, f := range busy {
		go f()
	}
	// The end comes while something is on its way to the disk that wasn't there when it was said what is left.
	for range late {
		must(t, <-round)
	}
	fmt.Println("ready for the end")
	<-t.Context().Done()
}

// tellLeft says what has to be there after the power cut: everything but what was killed when only the name was left to go.
func (k kind) tellLeft(t *testing.T, d disk.Disk) {
	t.Helper()
	if k.late {
		f, err := os.Open(k.place.path)
		must(t, err)
		must(t, unix.Syncfs(int(f.Fd())))
		must(t, f.Close())
	}
	names, err := d.List(t.Context())
	must(t, err)
	want := []string{"ready", "mounted"}
	for i := range k.creating {
		want = append(want, fmt.Sprintf("creating-%d", i))
	}
	for _, n := range want {
		if !slices.Contains(names, n) {
			t.Fatalf("List doesn't have %s: %q", n, names)
		}
	}
	fmt.Printf("left %s %s\n", k.name, strings.Join(names, ","))
}

func write(path string, sync bool) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for range 4 {
		if _, err := f.Write(mark); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// TestAfter finds and destroys all that was left, and what it makes then is new.
func TestAfter(t *testing.T) {
	mountPlaces(t)
	for _, k := range kinds(t) {
		t.Run(string(k.name), func(t *testing.T) {
			d := k.disk(t)
			want, err := strconv.ParseInt(os.Getenv(capacityOf+string(k.name)), 10, 64)
			must(t, err)
			names, err := d.List(t.Context())
			must(t, err)
			for n := range strings.SplitSeq(os.Getenv(leftBy+string(k.name)), ",") {
				if !slices.Contains(names, n) {
					t.Errorf("List doesn't have %s: %q", n, names)
				}
			}
			t.Logf("left by the power cut: %q", names)
			for _, n := range names {
				must(t, d.Destroy(t.Context(), n, k.wipe))
			}
			if names, err := d.List(t.Context()); err != nil || len(names) > 0 {
				t.Fatalf("not destroyed: %q, %v", names, err)
			}
			if k.leaks != nil {
				if found, err := k.leaks(); err != nil || len(found) > 0 {
					t.Errorf("left without a volume: %q, %v", found, err)
				}
			}
			if got := capacity(t, d, want-k.slack); got < want-k.slack {
				t.Errorf("the capacity was %d bytes before and is %d now", want, got)
			}
			k.readsZeros(t, d, (want*6/10)&^(mib-1))
		})
	}
}

// readsZeros makes a volume of more than half of the disk and reads all of it.
func (k kind) readsZeros(t *testing.T, d disk.Disk, size int64) {
	t.Helper()
	must(t, d.Create(t.Context(), disk.Spec{Name: "new", Size: size, Block: k.block}))
	var path, dir string
	if k.block {
		var err error
		path, err = d.Attach(t.Context(), "new")
		must(t, err)
	} else {
		dir = t.TempDir()
		must(t, d.Mount(t.Context(), "new", disk.Mount{Path: dir}))
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 0 {
			t.Fatalf("a new volume has %v, %v", entries, err)
		}
		path = dir + "/allocated"
		f, err := os.Create(path)
		must(t, err)
		must(t, unix.Fallocate(int(f.Fd()), 0, 0, size*9/10))
		must(t, f.Close())
	}
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	b, zeros := make([]byte, mib), make([]byte, mib)
	for at := int64(0); ; at += mib {
		n, err := io.ReadFull(f, b)
		if !bytes.Equal(b[:n], zeros[:n]) {
			t.Fatalf("a new volume doesn't read as zeros at %d", at)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		must(t, err)
	}
	must(t, f.Close())
	if dir != "" {
		must(t, unix.Unmount(dir, 0))
	}
	must(t, d.Destroy(t.Context(), "new", disk.WipeNone))
}

// TestBtrfsIsRefused: a hard limit on btrfs takes simple quotas, which Linux has from 6.7 on.
func TestBtrfsIsRefused(t *testing.T) {
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 256*mib))
	run(t, "mkfs.btrfs", "-q", image)
	run(t, "mount", "-t", "btrfs", "-o", "loop", image, dir)
	defer func() { must(t, unix.Unmount(dir, 0)) }()
	_, err := btrfs.Probe(t.Context(), dir)
	var refused *disk.Refused
	if !errors.As(err, &refused) || refused.Kind != disk.Btrfs || !strings.Contains(refused.Reason, "6.7") {
		t.Fatalf("Probe: %v, want a refusal that names Linux 6.7", err)
	}
	t.Log(err)
}
