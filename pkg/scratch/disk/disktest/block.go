package disktest

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

func (f *fixture) createBlock(name string, size int64) string {
	f.T.Helper()
	f.ok("create", f.d.Create(f.Context(), disk.Spec{Name: name, Size: size, Block: true}))
	return f.attach(name)
}

func (f *fixture) attach(name string) string {
	f.T.Helper()
	device, err := f.d.Attach(f.Context(), name)
	f.ok("attach", err)
	return device
}

// sizeOf asks the device itself.
func (f *fixture) sizeOf(device string) int64 {
	f.T.Helper()
	d, err := os.Open(device)
	f.ok("open", err)
	defer d.Close()
	n, err := d.Seek(0, io.SeekEnd)
	f.ok("seek", err)
	return n
}

// stain writes something on every page of a device, and returns the error that stopped it at its end.
func (f *fixture) stain(device string) int64 {
	f.T.Helper()
	d, err := os.OpenFile(device, os.O_WRONLY, 0)
	f.ok("open", err)
	defer d.Close()
	var at int64
	for {
		n, err := d.Write(stains)
		at += int64(n)
		if err != nil {
			if number(err) != unix.ENOSPC {
				f.Fatalf("writing beyond the end of %s: %v", device, err)
			}
			break
		}
	}
	f.ok("sync", d.Sync())
	return at
}

// stains is a MiB of a mark that nothing else writes.
var stains = bytes.Repeat([]byte("the tenant was here "), unit/20+1)[:unit]

// scan reads all of a device or image past every cache and says what it finds: only zeros, or the mark of the tenant before.
func (f *fixture) scan(path string) (zeros, stained bool) {
	f.T.Helper()
	d, err := os.Open(path)
	f.ok("open", err)
	defer d.Close()
	f.ok("fadvise", unix.Fadvise(int(d.Fd()), 0, 0, unix.FADV_DONTNEED))
	zeros = true
	b, none := make([]byte, unit), make([]byte, unit)
	for {
		n, err := io.ReadFull(d, b)
		zeros = zeros && bytes.Equal(b[:n], none[:n])
		stained = stained || bytes.Contains(b[:n], stains[:20])
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return zeros, stained
		}
		f.ok("read", err)
	}
}

// nothingBefore: with more than half of what is free for each volume, the second has space of the first. Where space is set aside, another volume has
// half of the disk, so that less has to be written.
func nothingBefore(f *fixture) {
	free := f.capacity
	if f.Allocated != nil {
		f.ok("create", f.d.Create(f.Context(), disk.Spec{Name: "neighbour", Size: mib(free / 2), Block: f.Block}))
		defer f.destroy("neighbour")
		free -= free / 2
	}
	size := mib(free * 6 / 10)
	if f.Block {
		device := f.createBlock("before", size)
		f.stain(device)
		f.destroy("before")
		device = f.createBlock("after", size)
		if zeros, stained := f.scan(device); !zeros {
			f.Errorf("a new block volume doesn't read as zeros (what the tenant before wrote is there: %v)", stained)
		}
		f.destroy("after")
	}
	p := f.volume("before", size)
	stain, err := os.Create(p + "/stain")
	f.ok("create", err)
	for err == nil {
		_, err = stain.Write(stains)
	}
	f.ok("close", stain.Close())
	f.end("before", p)
	p = f.volume("after", size)
	f.empty(p)
	taken, err := os.Create(p + "/taken")
	f.ok("create", err)
	f.ok("fallocate", unix.Fallocate(int(taken.Fd()), 0, 0, mib(size/2)))
	f.ok("close", taken.Close())
	if zeros, _ := f.scan(p + "/taken"); !zeros {
		f.Error("an allocated file doesn't read as zeros")
	}
	if f.Raw != nil {
		if _, stained := f.scan(f.Raw(f.T, "after")); stained {
			f.Error("what the tenant before wrote can be read below the new volume")
		}
	}
	f.end("after", p)
}

func wipes(f *fixture) {
	for _, wipe := range []disk.Wipe{disk.WipeNone, disk.WipeDiscard, disk.WipeZero} {
		p := f.volume("wiped", small)
		f.tenant(p, Fill, small)
		f.unmount(p)
		if c, ok := f.d.(interface{ CheckWipe(disk.Wipe) error }); ok && c.CheckWipe(wipe) != nil {
			f.want("destroy, wipe "+string(wipe), f.d.Destroy(f.Context(), "wiped", wipe), volume.ErrPrecondition)
			f.listed("after a policy that can't be kept", "wiped")
			f.destroy("wiped")
			continue
		}
		f.ok("destroy, wipe "+string(wipe), f.d.Destroy(f.Context(), "wiped", wipe))
		f.noVolumes("wipe " + string(wipe))
		if f.Block {
			f.stain(f.createBlock("wiped", small))
			f.ok("destroy a block volume, wipe "+string(wipe), f.d.Destroy(f.Context(), "wiped", wipe))
			f.noVolumes("wipe " + string(wipe))
		}
		f.capacityIsBack()
	}
}

func blocks(f *fixture) {
	if !f.Block {
		return // refusals has seen that it is refused
	}
	ctx := f.Context()
	device := f.createBlock("raw", small)
	if again := f.attach("raw"); again != device {
		f.Errorf("attached twice: %s and %s", device, again)
	}
	if n := f.sizeOf(device); n != small {
		f.Errorf("the device has %d bytes, not %d", n, small)
	}
	if zeros, _ := f.scan(device); !zeros {
		f.Error("a new block volume doesn't read as zeros")
	}
	if n := f.stain(device); n != small {
		f.Errorf("the device took %d bytes, not %d", n, small)
	}
	if err := f.d.Mount(ctx, "raw", disk.Mount{Path: f.dir()}); err == nil {
		f.Error("a raw volume was mounted")
	}
	if u, err := f.d.Usage(ctx, "raw", ""); err == nil && u.TotalBytes != small {
		f.Errorf("usage of a block volume: %+v", u)
	}
	f.listed("attached", "raw")
	if f.Grows {
		for _, size := range []int64{2 * small, small} {
			f.ok("grow", f.d.Grow(ctx, "raw", "", size))
			if n := f.sizeOf(device); n != 2*small {
				f.Errorf("asked for %d, the device has %d bytes", size, n)
			}
		}
		if _, stained := f.scan(device); !stained {
			f.Error("growing lost what was written")
		}
	}
	// Another process after a restart gives the same device.
	f.ok("close", f.d.Close())
	f.d = f.Open(f.T)
	if again := f.attach("raw"); again != device {
		f.Errorf("after a restart the device is %s, not %s", again, device)
	}
	held, err := os.OpenFile(device, os.O_RDWR, 0)
	f.ok("open", err)
	for i := range 2 {
		f.want(fmt.Sprintf("destroy while it is open (%d)", i), f.d.Destroy(ctx, "raw", disk.WipeZero), volume.ErrUnavailable)
	}
	b := make([]byte, len(stains))
	if _, err := held.ReadAt(b, 0); err != nil || !bytes.Equal(b, stains) {
		f.Errorf("the refusal to destroy it took data from a volume in use (%v)", err)
	}
	f.ok("close", held.Close())
	f.destroy("raw")
	if _, err := os.Stat(device); err == nil && f.Leaks == nil {
		f.Logf("%s is still there", device)
	}
}
