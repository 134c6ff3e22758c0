package disktest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// background is for clearing away when the case's own context has ended.
func (f *fixture) background() context.Context { return context.WithoutCancel(f.Context()) }

func lifecycle(f *fixture) {
	ctx := f.Context()
	f.ok("check the spec", f.d.CheckSpec(disk.Spec{Name: "v1", Size: small}))
	f.create("v1", small)
	f.listed("after Create", "v1")
	f.create("v1", small)
	f.listed("after Create again", "v1")
	p := f.mount("v1")
	f.empty(p)
	f.healthy("v1", p)
	f.writeFile(p+"/a", text("v1", 3<<20))
	f.unmount(p)
	again := f.mount("v1")
	f.hasFile(again+"/a", text("v1", 3<<20))
	f.unmount(again)
	f.create("v1", small)
	p = f.mount("v1")
	f.empty(p)
	f.unmount(p)
	f.destroy("v1")
	f.listed("after Destroy")
	f.destroy("v1")
	// A name may be used again.
	f.create("v1", small)
	p = f.mount("v1")
	f.empty(p)
	f.end("v1", p)
	// Nothing happens for a caller that has gone.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := f.d.Create(gone, disk.Spec{Name: "v2", Size: small}); !errors.Is(err, context.Canceled) {
		f.Errorf("Create with a context that has ended: %v", err)
	}
	f.listed("after a Create that was cancelled")
}

func fileSystems(f *fixture) {
	for _, fs := range f.FSTypes {
		f.on(fs, func(f *fixture) {
			spec := disk.Spec{Name: "typed", Size: f.FSSize, FSType: fs}
			f.ok("check the spec", f.d.CheckSpec(spec))
			f.ok("create", f.d.Create(f.Context(), spec))
			p := f.mount("typed")
			f.empty(p)
			f.ok("mounted", f.d.Mounted(f.Context(), "typed", p))
			f.handOver(p)
			r := f.tenant(p, Fill, f.FSSize)
			f.limited(r, f.FSSize)
			u := f.usage("typed", p)
			if u.TotalBytes > f.FSSize || u.TotalBytes < f.FSSize*3/4 {
				f.Errorf("usage of %d bytes says %+v", f.FSSize, u)
			}
			f.healthy("typed", p)
			switch {
			case slices.Contains(f.CantGrow, fs):
				f.want("grow", f.d.Grow(f.Context(), "typed", p, f.FSSize+128<<20), volume.ErrPrecondition)
				f.ok("grow to what it has", f.d.Grow(f.Context(), "typed", p, f.FSSize))
				if now := f.usage("typed", p); now.TotalBytes != u.TotalBytes {
					f.Errorf("growing was refused, and the volume went from %+v to %+v", u, now)
				}
				f.ok("mounted", f.d.Mounted(f.Context(), "typed", p))
			case f.Grows:
				f.ok("remove", os.Remove(p+"/fill"))
				f.ok("grow", f.d.Grow(f.Context(), "typed", p, f.FSSize+128<<20))
				if r := f.tenant(p, Fill, f.FSSize+128<<20); r.Held < f.FSSize {
					f.Errorf("after growing to %d bytes only %d fit (%v)", f.FSSize+128<<20, r.Held, r.Errno)
				}
			}
			f.end("typed", p)
		})
	}
}

func busy(f *fixture) {
	ctx := f.Context()
	p := f.volume("busy", small)
	f.writeFile(p+"/a", "precious")
	for _, wipe := range []disk.Wipe{disk.WipeNone, disk.WipeDiscard, disk.WipeZero} {
		f.want("destroy, wipe "+string(wipe), f.d.Destroy(ctx, "busy", wipe), volume.ErrUnavailable)
	}
	f.want("create", f.d.Create(ctx, disk.Spec{Name: "busy", Size: small}), volume.ErrUnavailable)
	f.hasFile(p+"/a", "precious")
	f.writeFile(p+"/b", text("after", 1<<20))
	f.ok("mounted", f.d.Mounted(ctx, "busy", p))
	f.healthy("busy", p)
	f.listed("after the refusal", "busy")
	f.unmount(p)
	p = f.mount("busy")
	f.hasFile(p+"/a", "precious")
	// A bind mount elsewhere holds the volume too.
	bind := f.dir()
	f.ok("bind", unix.Mount(p, bind, "", unix.MS_BIND, ""))
	f.unmount(p)
	f.want("destroy with a bind mount", f.d.Destroy(ctx, "busy", disk.WipeNone), volume.ErrUnavailable)
	f.hasFile(bind+"/b", text("after", 1<<20))
	f.end("busy", bind)
}

func restart(f *fixture) {
	p, size := f.growing("stays")
	f.writeFile(p+"/a", "1")
	f.ok("close", f.d.Close())
	f.hasFile(p+"/a", "1")
	f.d = f.Open(f.T)
	f.listed("after a restart", "stays")
	f.ok("mounted", f.d.Mounted(f.Context(), "stays", p))
	if u := f.usage("stays", p); u.TotalBytes == 0 || u.TotalBytes > size {
		f.Errorf("usage after a restart: %+v", u)
	}
	f.healthy("stays", p)
	if f.Grows {
		f.ok("grow after a restart", f.d.Grow(f.Context(), "stays", p, 2*size))
		f.hasFile(p+"/a", "1")
	}
	f.unmount(p)
	f.ok("close", f.d.Close())
	f.d = f.Open(f.T)
	p = f.mount("stays")
	f.hasFile(p+"/a", "1")
	f.unmount(p)
	f.ok("close", f.d.Close())
	f.d = f.Open(f.T)
	f.destroy("stays")
}

func leftovers(f *fixture) {
	for _, l := range f.Leftovers {
		f.on(l.Name, func(f *fixture) {
			l.Make(f.T, "left")
			f.create("left", small)
			p := f.mount("left")
			f.empty(p)
			f.ok("mounted", f.d.Mounted(f.Context(), "left", p))
			f.end("left", p)
			f.noVolumes("made anew and destroyed")
			l.Make(f.T, "left")
			f.destroy("left")
			f.noVolumes("destroyed")
			f.capacityIsBack()
		})
	}
}

func failedCreate(f *fixture) {
	err := f.d.Create(f.Context(), disk.Spec{Name: "bad", Size: small, MkfsOptions: []string{"--there-is-no-such-option"}})
	if err == nil || !strings.Contains(err.Error(), "option") {
		f.Errorf("Create with a wrong option of mkfs: %v", err)
	}
	f.noVolumes("after it failed")
	f.capacityIsBack()
}

func atOnce(f *fixture) {
	var wg sync.WaitGroup
	failed := make(chan error, 8)
	dirs := make([]string, 8)
	for i := range dirs {
		dirs[i] = f.dir()
	}
	for i, dir := range dirs {
		wg.Go(func() {
			for round := range 2 {
				if err := f.live(fmt.Sprintf("many-%d", i), dir, 32<<20); err != nil {
					failed <- fmt.Errorf("volume %d, round %d: %w", i, round, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		f.Error(err)
	}
}

// live is the whole life of a volume.
func (f *fixture) live(name, dir string, size int64) error {
	ctx := f.Context()
	if err := f.d.Create(ctx, disk.Spec{Name: name, Size: size}); err != nil {
		return err
	}
	if err := f.d.Mount(ctx, name, disk.Mount{Path: dir}); err != nil {
		return err
	}
	file, want := filepath.Join(dir, "own"), text(name, 4<<20)
	if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
		return err
	}
	if err := f.d.Mounted(ctx, name, dir); err != nil {
		return err
	}
	if _, err := f.d.List(ctx); err != nil {
		return err
	}
	if _, err := f.d.Capacity(ctx); err != nil {
		return err
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		return fmt.Errorf("the volume holds %d bytes that aren't its own (%w)", len(got), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 2 {
		return fmt.Errorf("the volume has another's files: %v (%w)", entries, err)
	}
	// A tool that is just being started for another volume has our open files until its exec.
	err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	for i := 0; err == unix.EBUSY && i < 500; i++ {
		time.Sleep(10 * time.Millisecond)
		err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	}
	if err != nil {
		return os.NewSyscallError("umount", err)
	}
	return f.d.Destroy(ctx, name, disk.WipeNone)
}

func churn(f *fixture) {
	for i := range 25 {
		name := fmt.Sprintf("churn-%d", i%3)
		f.create(name, small)
		if i%5 == 0 {
			p := f.mount(name)
			f.handOver(p)
			f.tenant(p, Fill, small)
			f.unmount(p)
		}
		f.destroy(name)
	}
}
