package lab

// Debian's kernel package: downloaded, checked and unpacked once, installed nowhere.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// manifestName is the file that says what a complete kernel directory holds. It is
// written last: a directory without it, or with files that differ, is thrown away.
const manifestName = "manifest.json"

// kernel is an unpacked kernel package.
type kernel struct {
	dir     string
	release string // as uname -r
}

func (k kernel) image() string   { return filepath.Join(k.dir, "boot", "vmlinuz-"+k.release) }
func (k kernel) modules() string { return filepath.Join(k.dir, "lib", "modules", k.release) }

// manifest describes a complete kernel directory.
type manifest struct {
	Release string
	Package string
	// SHA256 of every file, by path from the directory.
	SHA256 map[string]string
}

// fetchKernel returns the kernel of suite from the cache, downloading it first when there is
// none or the one there is damaged.
func fetchKernel(ctx context.Context, suite Suite) (kernel, error) {
	cache, err := cacheDir()
	if err != nil {
		return kernel{}, err
	}
	dir := filepath.Join(cache, "kernel")
	if suite != Release {
		dir += "-" + string(suite)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return kernel{}, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return kernel{}, err
	}
	defer unlock()
	current := filepath.Join(dir, "current")
	k, err := openKernel(current)
	if err == nil {
		return k, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(os.Stderr, "lab: the cached kernel is downloaded again:", err)
	}
	fresh := filepath.Join(dir, "new")
	for _, d := range []string{fresh, current} {
		if err := os.RemoveAll(d); err != nil {
			return kernel{}, err
		}
	}
	if err := downloadKernel(ctx, suite, fresh); err != nil {
		return kernel{}, errors.Join(fmt.Errorf("get a kernel for the emulated machine: %w", err), os.RemoveAll(fresh))
	}
	if err := os.Rename(fresh, current); err != nil {
		return kernel{}, err
	}
	return openKernel(current)
}

// openKernel checks the kernel in dir against its manifest.
func openKernel(dir string) (kernel, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return kernel{}, err
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return kernel{}, fmt.Errorf("%s: %w", manifestName, err)
	}
	found, err := checksums(dir)
	if err != nil {
		return kernel{}, err
	}
	for name, sum := range m.SHA256 {
		if found[name] != sum {
			return kernel{}, fmt.Errorf("%s is not what was unpacked", name)
		}
	}
	k := kernel{dir: dir, release: m.Release}
	if _, ok := m.SHA256["boot/vmlinuz-"+m.Release]; !ok {
		return kernel{}, fmt.Errorf("%s has no kernel", manifestName)
	}
	return k, nil
}

// downloadKernel fills dir.
func downloadKernel(ctx context.Context, suite Suite, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	from, err := newApt(ctx, suite, dir)
	if err != nil {
		return err
	}
	pkg, err := from.kernelPackage(ctx)
	if err != nil {
		return err
	}
	deb, err := from.download(ctx, pkg, dir)
	if err != nil {
		return err
	}
	if _, err := output(ctx, dir, "dpkg-deb", "-x", deb, dir); err != nil {
		return err
	}
	for _, drop := range []string{deb, filepath.Join(dir, "apt"), filepath.Join(dir, "usr")} {
		if err := os.RemoveAll(drop); err != nil {
			return err
		}
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return fmt.Errorf("package %s holds %d kernels", pkg, len(images))
	}
	m := manifest{Package: pkg, Release: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	if err := keepNeeded(ctx, dir, m.Release); err != nil {
		return err
	}
	if m.SHA256, err = checksums(dir); err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, manifestName), b, 0o644)
}

// keepNeeded removes the subsystems no emulated machine here has: sound, graphics,
// radio and the like are most of the package's 400 MB.
func keepNeeded(ctx context.Context, dir, release string) error {
	root := filepath.Join(dir, "lib", "modules", release, "kernel")
	for _, d := range []string{
		"sound", "drivers/gpu", "drivers/media", "drivers/net/wireless", "drivers/infiniband", "drivers/usb", "drivers/iio",
		"drivers/hid", "drivers/input", "drivers/staging", "drivers/isdn", "drivers/net/ethernet", "drivers/hwmon", "drivers/video",
		"drivers/scsi", "drivers/net/can", "drivers/mfd", "drivers/platform", "net/bluetooth", "net/mac80211", "net/wireless",
	} {
		if err := os.RemoveAll(filepath.Join(root, d)); err != nil {
			return err
		}
	}
	return decompress(ctx, root)
}

// decompress unpacks the modules below root, which newer packages compress: a machine would take longer to do it, at each boot.
func decompress(ctx context.Context, root string) error {
	var packed []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".ko.xz") {
			packed = append(packed, path)
		}
		return err
	})
	if err != nil || len(packed) == 0 {
		return err
	}
	_, err = output(ctx, root, "xz", append([]string{"--decompress", "--"}, packed...)...)
	return err
}

// output runs a program in dir and returns what it printed; its errors are in the error.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// checksums returns the SHA-256 of every file under dir but the manifest.
func checksums(dir string) (map[string]string, error) {
	sums := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == manifestName {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		sums[name] = hex.EncodeToString(h.Sum(nil))
		return err
	})
	return sums, err
}
