package disktest

import (
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// limited: the tenant was stopped by the limit, and had no more than the size.
func (f *fixture) limited(r result, size int64) {
	f.T.Helper()
	if !slices.Contains(f.Limit, r.Errno) {
		f.Errorf("the tenant ended with error %d (%v) at %d of %d bytes, want one of %v", int(r.Errno), r.Errno, r.Held, size, f.Limit)
	}
	if r.Held > size {
		f.Errorf("the tenant has %d bytes in a volume of %d", r.Held, size)
	}
}

// neighbour is a volume whose owner must notice nothing.
type neighbour struct {
	name, path string
}

func (f *fixture) neighbour(size int64) neighbour {
	f.T.Helper()
	n := neighbour{"neighbour", f.volume("neighbour", size)}
	f.writeFile(n.path+"/mine", text("mine", 8<<20))
	return n
}

func (f *fixture) unharmed(n neighbour) {
	f.T.Helper()
	f.hasFile(n.path+"/mine", text("mine", 8<<20))
	f.writeFile(n.path+"/new", text("new", 8<<20))
	f.ok("remove", os.Remove(n.path+"/new"))
	f.ok("mounted", f.d.Mounted(f.Context(), n.name, n.path))
	f.healthy(n.name, n.path)
}

func hardLimit(f *fixture) {
	n := f.neighbour(small)
	p := f.volume("limited", large)
	r := f.tenant(p, Fill, large)
	f.limited(r, large)
	if r.Held < large/10*9 {
		f.Errorf("only %d of %d bytes can be used", r.Held, int64(large))
	}
	f.unharmed(n)
	if c := f.capacityNow(); max(c-f.capacity, f.capacity-c) > f.Slack {
		f.Errorf("two volumes changed the capacity from %d to %d", f.capacity, c)
	}
	// What it was told was written is there.
	held := r.Held
	f.unmount(p)
	p = f.mount("limited")
	if r := f.tenant(p, attackCheck, large); r.Errno != 0 || r.Held < held {
		f.Errorf("of %d bytes %d are there (%v)", held, r.Held, r.Errno)
	}
	// Space that was freed can be used again.
	f.ok("remove", os.Remove(p+"/fill"))
	if r := f.tenant(p, Fill, large); r.Held < held-8<<20 {
		f.Errorf("filled again, the volume takes %d bytes, not %d", r.Held, held)
	}
	f.end("limited", p)
	f.unharmed(n)
	f.end(n.name, n.path)
}

func full(f *fixture) {
	ctx := f.Context()
	tooMuch := disk.Spec{Name: "much", Size: mib(f.capacity) + 64<<20}
	f.want("more than the disk has", f.d.Create(ctx, tooMuch), volume.ErrExhausted)
	f.noVolumes("after the refusal")
	f.capacityIsBack()
	n := f.neighbour(small)
	f.want("more than the disk has", f.d.Create(ctx, tooMuch), volume.ErrExhausted)
	f.listed("after the refusal", n.name)
	if f.Grows {
		p, size := f.growing("grows")
		f.want("growing to more than the disk has", f.d.Grow(ctx, "grows", p, tooMuch.Size), volume.ErrExhausted)
		if u := f.usage("grows", p); u.TotalBytes > size {
			f.Errorf("after a refusal to grow the volume has %+v", u)
		}
		f.limited(f.tenant(p, Fill, size), size)
		f.end("grows", p)
	}
	if f.Allocated != nil {
		// What others have is not there to be had, although they wrote nothing.
		rest := f.capacity - small
		f.want("more than is left", f.d.Create(ctx, disk.Spec{Name: "much", Size: mib(rest) + 32<<20}), volume.ErrExhausted)
		f.listed("after the refusal", n.name)
		f.unharmed(n)
	}
	f.end(n.name, n.path)
}

// promise fills two volumes that have nearly all the disk, after the first one did what it could to give its part back.
func promise(f *fixture) {
	first := mib(f.capacity / 4)
	second := mib(f.capacity - f.capacity/20 - first)
	a, b := f.volume("first", first), f.volume("second", second)
	f.tenant(a, Trim, first)
	_ = trim(a) // by the node's root: a timer does so in many systems
	rb := f.tenant(b, Fill, second)
	f.limited(rb, second)
	ra := f.tenant(a, Fill, first)
	f.limited(ra, first)
	if ra.Held < first/10*9 || rb.Held < second/10*9 {
		f.Errorf("of %d and %d bytes that were promised %d and %d could be written", first, second, ra.Held, rb.Held)
	}
	if r := f.tenant(b, attackCheck, second); r.Errno != 0 || r.Held < rb.Held {
		f.Errorf("of %d bytes %d are there (%v)", rb.Held, r.Held, r.Errno)
	}
	f.end("first", a)
	f.end("second", b)
}

func usage(f *fixture) {
	a, b := f.volume("a", large), f.volume("b", small)
	before, other := f.usage("a", a), f.usage("b", b)
	if before.TotalBytes > large || before.TotalBytes < large/10*9 {
		f.Errorf("the total of a volume of %d bytes is %d", int64(large), before.TotalBytes)
	}
	if before.UsedBytes < 0 || before.UsedBytes > 16<<20 || before.AvailableBytes > before.TotalBytes {
		f.Errorf("an empty volume has %+v", before)
	}
	f.writeFile(a+"/data", text("data", 32<<20))
	for i := range 100 {
		f.writeFile(fmt.Sprintf("%s/%d", a, i), "")
	}
	d, err := os.Open(a)
	f.ok("open", err)
	f.ok("sync", unix.Syncfs(int(d.Fd())))
	f.ok("close", d.Close())
	after := f.usage("a", a)
	if used := after.UsedBytes - before.UsedBytes; used < 31<<20 || used > 40<<20 {
		f.Errorf("32 MiB that were written count as %d", used)
	}
	if avail := before.AvailableBytes - after.AvailableBytes; avail < 31<<20 || avail > 40<<20 {
		f.Errorf("32 MiB that were written made %d bytes less available", avail)
	}
	switch {
	case after.TotalInodes == 0:
		if after.UsedInodes != 0 || after.AvailableInodes != 0 {
			f.Errorf("no limit on inodes, but %+v", after)
		}
	case after.UsedInodes-before.UsedInodes < 101 || after.UsedInodes-before.UsedInodes > 110:
		f.Errorf("101 files count as %d", after.UsedInodes-before.UsedInodes)
	}
	if now := f.usage("b", b); now != other {
		f.Errorf("what one volume wrote counts in another: %+v, then %+v", other, now)
	}
	f.end("a", a)
	f.end("b", b)
}

func grow(f *fixture) {
	ctx := f.Context()
	p, size := f.growing("grows")
	f.writeFile(p+"/kept", text("kept", 8<<20))
	if !f.Grows {
		f.want("grow", f.d.Grow(ctx, "grows", p, 2*size), volume.ErrUnsupported)
		f.end("grows", p)
		return
	}
	open, err := os.OpenFile(p+"/open", os.O_CREATE|os.O_WRONLY, 0o600)
	f.ok("open", err)
	defer open.Close()
	for range 2 {
		f.ok("grow", f.d.Grow(ctx, "grows", p, 3*size))
	}
	_, err = open.Write(noise)
	f.ok("write to a file that was open", err)
	f.ok("close", open.Close())
	grown := f.usage("grows", p).TotalBytes
	if grown < 3*size/10*8 || grown > 3*size {
		f.Errorf("grown to %d bytes, the volume has %d", 3*size, grown)
	}
	for _, less := range []int64{2 * small, disk.MinSize} {
		f.ok("a smaller size", f.d.Grow(ctx, "grows", p, less))
		if now := f.usage("grows", p).TotalBytes; now != grown {
			f.Errorf("asked for less, the volume went from %d to %d bytes", grown, now)
		}
	}
	f.ok("mounted", f.d.Mounted(ctx, "grows", p))
	f.hasFile(p+"/kept", text("kept", 8<<20))
	r := f.tenant(p, Fill, 3*size)
	f.limited(r, 3*size)
	if r.Held < 2*size {
		f.Errorf("a volume grown to %d bytes took %d", 3*size, r.Held)
	}
	if f.Allocated != nil {
		if a := f.Allocated(f.T, "grows"); a < 3*size {
			f.Errorf("only %d bytes are set aside for %d", a, 3*size)
		}
	}
	for _, bad := range []int64{-1, 4*size + 1} {
		f.want("a bad size", f.d.Grow(ctx, "grows", p, bad), volume.ErrInvalid, volume.ErrOutOfRange)
	}
	f.unmount(p)
	p = f.mount("grows")
	f.hasFile(p+"/kept", text("kept", 8<<20))
	f.end("grows", p)
}

func attacks(f *fixture) {
	for _, a := range []Attack{SmallFiles, Sparse, Fallocate, Punch, Project, Subvolumes, Trim, Overwrite, Unlinked} {
		f.on(string(a), func(f *fixture) {
			n := f.neighbour(small)
			p := f.volume("attacker", small)
			aside := func() int64 {
				if f.Allocated == nil {
					return 0
				}
				return f.Allocated(f.T, "attacker")
			}
			before := aside()
			r := f.tenant(p, a, small)
			f.Logf("%+v", r)
			if slices.Contains(f.Escapes, a) {
				if r.Held <= small {
					f.Errorf("the documented escape didn't work: %+v", r)
				}
			} else {
				f.limited(r, small)
			}
			if a == Trim && r.Denied == 0 {
				f.Error("a tenant without capabilities may trim")
			}
			if a == Subvolumes && r.Denied != 0 && r.Denied != syscall.ENOTTY {
				f.Errorf("making a nested subvolume: %v", r.Denied)
			}
			f.unharmed(n)
			// Nor can root on the node, whose timers trim every file system, take away what is promised.
			_ = trim(p)
			if now := aside(); now < before {
				f.Errorf("%d bytes are set aside, %d were before the attack", now, before)
			}
			f.unharmed(n)
			f.end("attacker", p)
			f.end(n.name, n.path)
			f.capacityIsBack()
		})
	}
}
