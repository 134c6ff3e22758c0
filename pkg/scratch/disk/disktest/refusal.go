package disktest

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

var badNames = []string{"", ".", "..", "../x", "a/b", "/a", "A", "1a", "-a", "a_b", "a b", "a\n", "a\x00b", "ü", strings.Repeat("a", 65)}

func refusals(f *fixture) {
	ctx := f.Context()
	refused := func(what string, spec disk.Spec, wants ...error) {
		f.Helper()
		f.want("CheckSpec, "+what, f.d.CheckSpec(spec), wants...)
		f.want("Create, "+what, f.d.Create(ctx, spec), wants...)
		f.noVolumes(what)
	}
	for _, name := range badNames {
		refused("name "+name, disk.Spec{Name: name, Size: small}, volume.ErrInvalid)
		f.want("Mount "+name, f.d.Mount(ctx, name, disk.Mount{Path: f.dir()}), volume.ErrInvalid)
		_, err := f.d.Attach(ctx, name)
		f.want("Attach "+name, err, volume.ErrInvalid, volume.ErrUnsupported)
		f.want("Grow "+name, f.d.Grow(ctx, name, "/", small), volume.ErrInvalid)
		f.want("Destroy "+name, f.d.Destroy(ctx, name, disk.WipeNone), volume.ErrInvalid)
	}
	for _, size := range []int64{-1, 0, 1, disk.MinSize - 1<<20, disk.MinSize + 1, small + 512} {
		refused("a bad size", disk.Spec{Name: "v1", Size: size}, volume.ErrInvalid, volume.ErrOutOfRange)
	}
	for _, fs := range []string{"vfat", "EXT4", "ext4 ", "../ext4", "-t", "tmpfs"} {
		refused("file system "+fs, disk.Spec{Name: "v1", Size: small, FSType: fs}, volume.ErrInvalid)
	}
	if !f.Block {
		refused("block", disk.Spec{Name: "v1", Size: small, Block: true}, volume.ErrUnsupported)
		_, err := f.d.Attach(ctx, "v1")
		f.want("Attach", err, volume.ErrUnsupported)
	}
	f.create("v1", small)
	f.want("an unknown way to wipe", f.d.Destroy(ctx, "v1", "shred"), volume.ErrInvalid)
	f.listed("after it", "v1")
	f.destroy("v1")
}

func absent(f *fixture) {
	ctx, p := f.Context(), f.dir()
	f.want("Mount", f.d.Mount(ctx, "v1", disk.Mount{Path: p}), volume.ErrNotFound)
	f.want("Grow", f.d.Grow(ctx, "v1", p, small), volume.ErrNotFound)
	f.want("Mounted", f.d.Mounted(ctx, "v1", p), volume.ErrNotFound)
	if f.Block {
		_, err := f.d.Attach(ctx, "v1")
		f.want("Attach", err, volume.ErrNotFound)
	}
	f.ok("Destroy", f.d.Destroy(ctx, "v1", disk.WipeZero))
}

func identity(f *fixture) {
	ctx := f.Context()
	a, b, stranger := f.volume("a", small), f.volume("b", small), f.dir()
	f.ok("a at a", f.d.Mounted(ctx, "a", a))
	f.ok("b at b", f.d.Mounted(ctx, "b", b))
	f.want("a where b is", f.d.Mounted(ctx, "a", b), volume.ErrExists)
	f.want("b where a is", f.d.Mounted(ctx, "b", a), volume.ErrExists)
	f.want("a where nothing is", f.d.Mounted(ctx, "a", stranger), volume.ErrNotFound)
	f.want("a below its own mount", f.d.Mounted(ctx, "a", a+"/x"), volume.ErrNotFound)
	f.ok("tmpfs", unix.Mount("a", stranger, "tmpfs", 0, "size=1m"))
	f.want("a where a stranger is", f.d.Mounted(ctx, "a", stranger), volume.ErrExists)
	f.want("a volume that isn't where a stranger is", f.d.Mounted(ctx, "c", stranger), volume.ErrExists)
	f.unmount(stranger)
	f.ok("bind", unix.Mount(a, stranger, "", unix.MS_BIND, ""))
	f.ok("a where its bind mount is", f.d.Mounted(ctx, "a", stranger))
	f.want("b where the bind mount of a is", f.d.Mounted(ctx, "b", stranger), volume.ErrExists)
	f.unmount(stranger)
	f.ok("tmpfs over a", unix.Mount("a", a, "tmpfs", 0, "size=1m"))
	f.want("a beneath a stranger", f.d.Mounted(ctx, "a", a), volume.ErrExists)
	f.ok("unmount", unix.Unmount(a, unix.UMOUNT_NOFOLLOW))
	f.ok("a again", f.d.Mounted(ctx, "a", a))
	f.end("b", b)
	f.want("b when it is gone, where a is", f.d.Mounted(ctx, "b", a), volume.ErrExists)
	f.unmount(a)
	f.want("a when it isn't mounted", f.d.Mounted(ctx, "a", a), volume.ErrNotFound)
	f.destroy("a")
}

func readOnly(f *fixture) {
	ctx := f.Context()
	p := f.volume("ro", small)
	f.writeFile(p+"/a", "x")
	f.unmount(p)
	p = f.dir()
	f.ok("mount", f.d.Mount(ctx, "ro", disk.Mount{Path: p, ReadOnly: true}))
	f.ok("mounted", f.d.Mounted(ctx, "ro", p))
	f.hasFile(p+"/a", "x")
	if err := os.WriteFile(p+"/b", nil, 0o600); number(err) != unix.EROFS {
		f.Errorf("writing in a read-only mount: %v", err)
	}
	if r := f.tenant(p, Fill, small); r.Errno != unix.EROFS || r.Held != 0 {
		f.Errorf("the tenant wrote in a read-only mount: %+v", r)
	}
	f.healthy("ro", p)
	f.end("ro", p)
}
