package lab

// Where kernels come from: the package lists of the machine, or lists of this project's own for a suite that the machine doesn't use. The
// machine's configuration of apt is read and never changed.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Suite is where a kernel comes from.
type Suite string

const (
	// Release is the Debian that the machine runs: 6.1 of Debian 12, the kernel of most nodes.
	Release Suite = ""
	// Backports has a newer kernel for the same Debian, for what the other lacks: simple quotas of btrfs came with Linux 6.7.
	Backports Suite = "backports"
)

// metaPackage always depends on the current kernel of a suite.
const metaPackage = "linux-image-amd64"

// keyring is where Debian's keys are (debian-archive-keyring, which apt depends on).
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt asks for packages of one suite.
type apt struct {
	options []string
}

// newApt returns the apt of suite, with the files it needs in dir.
func newApt(ctx context.Context, suite Suite, dir string) (apt, error) {
	// The download goes to a directory that only root may be able to write.
	a := apt{options: []string{"-q", "-o", "APT::Sandbox::User=root"}}
	switch suite {
	case Release:
		return a, nil
	case Backports:
	default:
		return a, fmt.Errorf("no kernel comes from %q", suite)
	}
	mirror, codename, err := debian(ctx)
	if err != nil {
		return a, err
	}
	dir = filepath.Join(dir, "apt")
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return a, err
		}
	}
	sources := filepath.Join(dir, "sources.list")
	line := fmt.Sprintf("deb [signed-by=%s] %s %s-backports main\n", keyring, mirror, codename)
	a.options = append(a.options, "-o", "Dir::Etc::SourceList="+sources, "-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::State::Lists="+filepath.Join(dir, "lists"), "-o", "Dir::Cache="+filepath.Join(dir, "cache"))
	return a, os.WriteFile(sources, []byte(line), 0o644)
}

// debian is the mirror of Debian that the machine uses, and the name of its release, fetching the package lists when there are none.
func debian(ctx context.Context) (mirror, codename string, err error) {
	err = apt{}.withLists(ctx, func() error {
		out, err := output(ctx, "", "apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)",
			"Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) == 2 && !strings.Contains(f[1], "-") { // not bookworm-updates and its like
				mirror, codename = f[0], f[1]
				return nil
			}
		}
		return errors.New("apt uses no mirror of Debian")
	})
	return mirror, codename, err
}

// withLists does what needs package lists, and does it again with new ones when it fails.
func (a apt) withLists(ctx context.Context, do func() error) error {
	if do() == nil {
		return nil
	}
	if _, err := a.run(ctx, "", "apt-get", "update"); err != nil {
		return err
	}
	return do()
}

func (a apt) run(ctx context.Context, dir, name string, args ...string) (string, error) {
	return output(ctx, dir, name, append(append([]string{}, a.options...), args...)...)
}

// kernelPackage is the package of the suite's current kernel.
func (a apt) kernelPackage(ctx context.Context) (pkg string, err error) {
	err = a.withLists(ctx, func() error {
		out, err := a.run(ctx, "", "apt-cache", "depends", "--important", metaPackage)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
			if ok && strings.HasPrefix(name, "linux-image-") {
				pkg = name
				return nil
			}
		}
		return fmt.Errorf("apt knows no dependency of %s that is a kernel", metaPackage)
	})
	return pkg, err
}

// download puts the .deb of pkg into dir and returns its path. apt checks it against the signed lists.
func (a apt) download(ctx context.Context, pkg, dir string) (string, error) {
	if _, err := a.run(ctx, dir, "apt-get", "download", pkg); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(dir, pkg+"_*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d files", pkg, len(debs))
	}
	return debs[0], nil
}
