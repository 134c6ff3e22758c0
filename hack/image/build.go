package main

// Making the archives.

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// mostStorage is when the builder's storage is made anew, in bytes: every change of the sources adds some layers to it.
const mostStorage = 12 << 30

// build makes the images whose inputs have changed.
func (s *store) build(ctx context.Context, images []image) error {
	var stale []image
	keys := map[string]string{}
	if err := s.install(ctx); err != nil {
		return err
	}
	for _, i := range images {
		key, err := s.inputHash(ctx, i)
		if err != nil {
			return err
		}
		if keys[i.name] = key; !s.upToDate(i.name, key) {
			stale = append(stale, i)
		}
	}
	s.say.Step("%d of %d images are up to date", len(images)-len(stale), len(images))
	swept := false
	for _, i := range stale {
		if i.target != "" && !swept {
			if err := s.sweep(ctx); err != nil {
				return err
			}
			swept = true
		}
		s.say.Step("%s: %s", i.name, i.reference)
		if err := s.one(ctx, i); err != nil {
			return fmt.Errorf("%s: %w", i.name, err)
		}
		info, err := os.Stat(s.path(i.name + ".tar"))
		if err != nil {
			return err
		}
		if err := replace(s.path(i.name+".key"), func(f *os.File) error { _, err := fmt.Fprintln(f, keys[i.name]); return err }); err != nil {
			return err
		}
		s.say.Step("%s: %.1f MB in %s", i.name, float64(info.Size())/1e6, s.path(i.name+".tar"))
	}
	return nil
}

// sweep puts the builder's storage in order: working containers of a killed build, and its size.
func (s *store) sweep(ctx context.Context) error {
	if _, err := os.Stat(s.path("storage")); err != nil {
		return nil // buildah makes it
	}
	size, err := treeSize(s.path("storage"))
	if err != nil {
		return err
	}
	if size > mostStorage {
		s.say.Step("the builder's storage has %d MB: it is made anew", size>>20)
		return os.RemoveAll(s.path("storage"))
	}
	_, err = s.buildah(ctx, io.Discard, "", "rm", "--all")
	return err
}

func (s *store) one(ctx context.Context, i image) error {
	log, err := s.logFile(i.name)
	if err != nil {
		return err
	}
	defer log.Close()
	if i.target != "" {
		return s.dockerfile(ctx, log, i)
	}
	layer := filepath.Join(s.tmp, "layer.tar")
	if i.userland == debian {
		if layer, _, err = s.base(ctx); err != nil {
			return err
		}
	} else {
		entries, err := s.entries(ctx, log, i)
		if err != nil {
			return err
		}
		if err := replace(layer, func(f *os.File) error { return writeLayer(f, entries) }); err != nil {
			return err
		}
	}
	c := i.config
	c.Env = []string{searchPath}
	return replace(s.path(i.name+".tar"), func(f *os.File) error { return writeArchive(f, i.reference, runtime.GOARCH, c, layer) })
}

// entries are the files of an image without Debian.
func (s *store) entries(ctx context.Context, log io.Writer, i image) ([]entry, error) {
	var entries []entry
	if i.userland == busybox {
		var err error
		if entries, err = busyboxEntries(ctx); err != nil {
			return nil, err
		}
	}
	if i.program.pkg == "" {
		return entries, nil
	}
	file := filepath.Join(s.root, i.program.pkg)
	if i.program.dir != "" {
		file = filepath.Join(s.tmp, "program")
		cmd := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", strings.TrimSpace("-s -w " + i.program.named()), "-o", file, i.program.pkg}
		if _, err := s.command(ctx, log, filepath.Join(s.root, i.program.dir), "", "env", append([]string{"CGO_ENABLED=0", "GOWORK=off", "go"}, cmd...)...); err != nil {
			return nil, err
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := static(b); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return append(entries, entry{name: i.program.path, mode: 0o755, data: b}), nil
}

// named sets the version that the sidecars say they are.
func (p program) named() string {
	if p.version == "" {
		return ""
	}
	return "-X main.version=" + p.version
}

// static refuses a program that wants a library, which its image doesn't have.
func static(b []byte) error {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("not a static program")
		}
	}
	return nil
}

// dockerfile has buildah execute the Dockerfile and writes the archive of what comes out.
func (s *store) dockerfile(ctx context.Context, log io.Writer, i image) error {
	base, golang, err := s.bases(ctx, log)
	if err != nil {
		return err
	}
	sum, err := contextHash(s.root)
	if err != nil {
		return err
	}
	// The go command trusts its caches by content, and the compiler in the container is this machine's.
	modules, err := goEnv(ctx, "GOMODCACHE")
	if err != nil {
		return err
	}
	compiled, err := goEnv(ctx, "GOCACHE")
	if err != nil {
		return err
	}
	args := []string{
		"bud", "--isolation", "chroot", "--layers", "--pull-never", "--timestamp", "0",
		"--build-arg", "BASE_IMAGE=" + base, "--build-arg", "GO_IMAGE=" + golang, "--build-arg", "VERSION=dev-" + sum[:12],
		"--volume", modules + ":/go/pkg/mod", "--volume", compiled + ":/root/.cache/go-build",
		"--target", i.target, "--tag", i.reference,
	}
	if i.label != "" {
		args = append(args, "--label", i.label)
	}
	if _, err := s.buildah(ctx, log, "STEP ", append(args, s.root)...); err != nil {
		return err
	}
	archive := s.path(i.name + ".tar")
	part := archive + ".part"
	if err := os.RemoveAll(part); err != nil { // buildah adds to one that is there
		return err
	}
	if _, err := s.buildah(ctx, log, "", "push", i.reference, "docker-archive:"+part+":"+i.reference); err != nil {
		return err
	}
	return os.Rename(part, archive)
}

func goEnv(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", name).Output()
	if err != nil {
		return "", fmt.Errorf("go env %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}
