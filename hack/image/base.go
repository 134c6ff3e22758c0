package main

// The bases: a small Debian made of its packages, and the same with a Go compiler.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	suite  = "bookworm"
	mirror = "http://deb.debian.org/debian"
	// aptSources are those of debian:12-slim.
	aptSources = "deb " + mirror + " " + suite + " main\n" +
		"deb " + mirror + " " + suite + "-updates main\n" +
		"deb http://deb.debian.org/debian-security " + suite + "-security main\n"
	// excludes keeps dpkg from unpacking what only people read; the licences stay.
	excludes = "path-exclude /usr/share/doc/*\npath-include /usr/share/doc/*/copyright\npath-exclude /usr/share/man/*\n" +
		"path-exclude /usr/share/info/*\npath-exclude /usr/share/lintian/*\npath-exclude /usr/share/locale/*\n"
	// slim removes the same from what is installed, and what is of this machine or of this minute.
	slim = `set -e
find usr/share/doc -type f ! -name copyright -delete
find usr/share/doc -depth -type d -empty -delete
rm -rf usr/share/man/* usr/share/info/* usr/share/lintian usr/share/locale/* var/cache/* var/log/* var/lib/apt/lists/* dev/* run/* etc/resolv.conf etc/hostname
exec tar --numeric-owner --sort=name --mtime=@0 --format=gnu -cf "$0" .`
)

// baseKey stands for how the base is made.
func baseKey() string {
	sum := sha256.Sum256([]byte(suite + mirror + aptSources + excludes + slim))
	return hex.EncodeToString(sum[:])
}

// base makes the archive of Debian's root directory, unless there is one, and returns its path and what to call the image of it.
func (s *store) base(ctx context.Context) (file, tag string, err error) {
	file = s.cache("debian-" + baseKey()[:12] + ".tar")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := s.makeBase(ctx, file); err != nil {
			return "", "", err
		}
	} else if err != nil {
		return "", "", err
	}
	sum := sha256.New()
	f, err := os.Open(file)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	if _, err := io.Copy(sum, f); err != nil {
		return "", "", err
	}
	return file, "localhost/strata-debian:" + hex.EncodeToString(sum.Sum(nil))[:12], nil
}

func (s *store) makeBase(ctx context.Context, file string) error {
	s.say.Step("base: debootstrap %s", suite)
	log, err := s.logFile("base")
	if err != nil {
		return err
	}
	defer log.Close()
	dir := filepath.Join(s.tmp, "base")
	if _, err := s.command(ctx, log, s.tmp, "", "debootstrap", "--variant=minbase", suite, dir, mirror); err != nil {
		return err
	}
	for name, text := range map[string]string{"etc/apt/sources.list": aptSources, "etc/dpkg/dpkg.cfg.d/slim": excludes} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if _, err := s.command(ctx, log, dir, "", "sh", "-c", slim, file+".part"); err != nil {
		return err
	}
	return errors.Join(os.Rename(file+".part", file), os.RemoveAll(dir))
}

// bases makes the images that the Dockerfile stands on, unless they are there.
func (s *store) bases(ctx context.Context, log io.Writer) (base, golang string, err error) {
	file, base, err := s.base(ctx)
	if err != nil {
		return "", "", err
	}
	if !s.exists(ctx, base) {
		s.say.Step("base: an image of it")
		if _, err := s.buildah(ctx, log, "", "from", "--name", "base", "scratch"); err != nil {
			return "", "", err
		}
		for _, args := range [][]string{{"add", "base", file, "/"}, {"config", "--cmd", "bash", "base"}, {"commit", "--rm", "--timestamp", "0", "base", base}} {
			if _, err := s.buildah(ctx, log, "", args...); err != nil {
				return "", "", err
			}
		}
	}
	compiler, err := goVersion(ctx)
	if err != nil {
		return "", "", err
	}
	containerfile, err := recipe.ReadFile("golang.Containerfile")
	if err != nil {
		return "", "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", base, compiler, containerfile))
	golang = "localhost/strata-golang:" + hex.EncodeToString(sum[:])[:12]
	if s.exists(ctx, golang) {
		return base, golang, nil
	}
	s.say.Step("base: the same with %s", compiler)
	goroot, err := goEnv(ctx, "GOROOT")
	if err != nil {
		return "", "", err
	}
	_, err = s.buildah(ctx, log, "STEP ", "bud", "--isolation", "chroot", "--layers", "--pull-never", "--timestamp", "0",
		"--build-arg", "BASE_IMAGE="+base, "--file", filepath.Join(s.root, "hack", "image", "golang.Containerfile"), "--tag", golang, goroot)
	return base, golang, err
}

// exists tells whether the storage has an image.
func (s *store) exists(ctx context.Context, tag string) bool {
	_, err := s.buildah(ctx, io.Discard, "", "inspect", "--type", "image", tag)
	return err == nil
}
