package lab

// Programs of the host in a machine: a node's tools for disks are Debian's, with the libraries they are linked against. They are
// taken from where Debian installed them (hack/ceph install), so the machine has the versions that the host's tests have.

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// diskTools are what a node with scratch volumes calls.
func diskTools() []string {
	return []string{
		"lvm", "dmsetup", // lvm2, dmsetup
		"mke2fs", "mkfs.ext4", "resize2fs", "e2fsck", "tune2fs", "dumpe2fs", // e2fsprogs
		"mkfs.xfs", "xfs_growfs", "xfs_repair", "xfs_io", "xfs_quota", // xfsprogs
		"mkfs.btrfs", "btrfs", // btrfs-progs
		"wipefs", "blkid", // util-linux
	}
}

// diskModules are the kernel modules behind them, which are loaded at once.
func diskModules() []string {
	return []string{"nvme", "dm-mod", "loop", "ext4", "xfs", "btrfs", "overlay", "quota_v2", "crc32c_generic", "xxhash_generic", "blake2b_generic"}
}

// libraryDirs is where glibc's loader looks without being told (ld.so(8), Debian's multiarch).
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"}

// hostTools adds programs and their libraries to files: path in the machine, path on the host.
func hostTools(files map[string]string, names []string) error {
	for _, name := range names {
		path, err := findTool(name)
		if err != nil {
			return err
		}
		files["/bin/"+name] = path
		if err := addLibraries(files, path); err != nil {
			return err
		}
	}
	const config = "/etc/mke2fs.conf"
	files[config] = config
	return nil
}

func findTool(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w; run: go run ./hack/ceph install", name, exec.ErrNotFound)
}

// addLibraries adds the loader and the libraries that the program or library at path needs, and those that they need.
func addLibraries(files map[string]string, path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		loader := make([]byte, p.Filesz)
		if _, err := p.ReadAt(loader, 0); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		name := string(loader[:len(loader)-1]) // ends with a NUL
		files[name] = name
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	// A library may say where it expects its own: Debian's librados does. Nothing here uses $ORIGIN.
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		paths, err := f.DynString(tag)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, p := range paths {
			dirs = append(dirs, filepath.SplitList(p)...)
		}
	}
	for _, name := range needed {
		library, err := findLibrary(name, dirs)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		// Under the first directory, wherever it is on the host.
		to := filepath.Join(libraryDirs[0], name)
		if _, ok := files[to]; ok {
			continue
		}
		files[to] = library
		if err := addLibraries(files, library); err != nil {
			return err
		}
	}
	return nil
}

func findLibrary(name string, more []string) (string, error) {
	dirs := slices.Concat(more, libraryDirs)
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("library %s is in none of %v", name, dirs)
}
