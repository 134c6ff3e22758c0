package lab

// What a machine boots into.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// busybox is Debian's busybox-static.
const busybox = "/usr/bin/busybox"

// guestPackage is the program that is process 1 and the agent.
const guestPackage = "github.com/strata-csi/strata/tests/kernel/guest"

// bootModules are loaded at boot, in this order.
func bootModules() []string { return []string{"virtio_pci", "virtio_net"} }

// onDemandModules are there for whoever asks modprobe, or the kernel itself, for
// them, as on a Debian node.
func onDemandModules() []string {
	return []string{"ceph", "fuse", "crc32c_generic", "crc32c_intel", "gcm", "ctr", "ghash_generic", "loop"}
}

// Build compiles the Go package pkg of this project without cgo into dir, which
// makes a static program, and returns its path.
func Build(ctx context.Context, pkg, dir string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, filepath.Base(pkg))
	if _, err := output(ctx, root, "env", "CGO_ENABLED=0", "go", "build", "-o", out, pkg); err != nil {
		return "", err
	}
	return out, nil
}

// writeInitramfs writes the archive of cfg to path.
func writeInitramfs(ctx context.Context, path string, k kernel, cfg Config) (err error) {
	guest, err := Build(ctx, guestPackage, filepath.Dir(path))
	if err != nil {
		return err
	}
	modules, err := collectModules(k.modules(), slices.Concat(bootModules(), onDemandModules(), cfg.Modules))
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	a := newArchive(w)
	a.file("/init", guest)
	a.symlink("/bin/guest", "/init")
	a.file("/bin/busybox", busybox)
	for _, name := range []string{"sh", "modprobe"} {
		a.symlink("/bin/"+name, "busybox")
	}
	a.symlink("/sbin", "bin")
	for _, name := range []string{"/usr/bin", "/usr/sbin"} {
		a.symlink(name, "/bin")
	}
	a.dir("/mnt")
	a.text("/etc/hosts", "127.0.0.1 localhost\n")
	a.text("/etc/passwd", "root:x:0:0:root:/:/bin/sh\n")
	a.text("/etc/group", "root:x:0:\n")
	lib := "/lib/modules/" + k.release + "/"
	for _, name := range modules.order {
		a.file(lib+modules.modules[name].path, filepath.Join(k.modules(), modules.modules[name].path))
	}
	a.file(lib+builtinName, filepath.Join(k.modules(), builtinName))
	a.text(lib+"modules.dep", modules.dep())
	a.text(lib+"modules.alias", modules.alias())
	for _, to := range slices.Sorted(maps.Keys(cfg.Files)) {
		a.file(to, cfg.Files[to])
	}
	if err := a.close(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	return w.Flush()
}
