package main

// What an image is made from, as one hash: an archive with the same hash beside it isn't made again.

import (
	"bufio"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// recipe is this program.
//
//go:embed *.go golang.Containerfile
var recipe embed.FS

// ignore is a .dockerignore that leaves out everything but what it names, and of that some files and directories wherever they are.
type ignore struct {
	only []string // paths
	not  []string // patterns for the last element of a path
}

// parseIgnore refuses the lines that it doesn't understand, so that builder and hash can't see different files.
func parseIgnore(text string) (ignore, error) {
	var i ignore
	all := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		not, anywhere := strings.CutPrefix(line, "**/")
		only, again := strings.CutPrefix(line, "!")
		switch {
		case line == "" || line[0] == '#':
		case line == "*":
			all = true
		case again && all && len(i.not) == 0 && only == path.Clean(only) && !strings.ContainsAny(only, "*?["):
			i.only = append(i.only, only)
		case anywhere && !strings.Contains(not, "/"):
			if _, err := path.Match(not, ""); err != nil {
				return ignore{}, fmt.Errorf(".dockerignore: %q: %w", line, err)
			}
			i.not = append(i.not, not)
		default:
			return ignore{}, fmt.Errorf(".dockerignore: can't understand %q; there may be *, then !PATH, then **/PATTERN", line)
		}
	}
	if !all {
		return ignore{}, fmt.Errorf(".dockerignore: has no line *, and so lets everything in")
	}
	return i, nil
}

// files are the paths below root that the builder sees, sorted.
func (i ignore) files(root string) ([]string, error) {
	var files []string
	for _, only := range i.only {
		err := filepath.WalkDir(filepath.Join(root, only), func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			for _, pattern := range i.not {
				if ok, _ := path.Match(pattern, e.Name()); ok {
					if e.IsDir() {
						return fs.SkipDir
					}
					return nil
				}
			}
			if !e.IsDir() {
				files = append(files, p)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(files)
	return files, nil
}

// hashFile adds a file with its name and mode.
func hashFile(h hash.Hash, root, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%q %o %d\n", rel, info.Mode().Perm()&0o111, info.Size())
	_, err = io.Copy(h, f)
	return err
}

// contextHash is over what the Dockerfile's build sees.
func contextHash(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		return "", err
	}
	i, err := parseIgnore(string(text))
	if err != nil {
		return "", err
	}
	files, err := i.files(root)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, f := range append(files, filepath.Join(root, "Dockerfile"), filepath.Join(root, ".dockerignore")) {
		if err := hashFile(h, root, f); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// inputHash is over all that an image is made from.
func (s *store) inputHash(ctx context.Context, i image) (string, error) {
	compiler, err := goVersion(ctx)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%+v\n%s\n%s\n", i, compiler, baseKey())
	err = fs.WalkDir(recipe, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(p, "_test.go") {
			return err
		}
		b, err := recipe.ReadFile(p)
		fmt.Fprintf(h, "%q %d\n%s", p, len(b), b)
		return err
	})
	if err != nil {
		return "", err
	}
	files, err := i.sources(s.root)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if err := hashFile(h, s.root, f); err != nil {
			return "", err
		}
	}
	if i.target != "" {
		c, err := contextHash(s.root)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, c)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// sources are the files that an image is made from, beside the Dockerfile's and the base.
func (i image) sources(root string) ([]string, error) {
	var files []string
	p := i.program
	switch {
	case p.dir == ".": // a package of ours that imports nothing of ours
		own, err := filepath.Glob(filepath.Join(root, p.pkg, "*.go"))
		if err != nil {
			return nil, err
		}
		files = append(own, filepath.Join(root, "go.mod"), filepath.Join(root, "go.sum"))
	case p.dir != "":
		files = append(files, filepath.Join(root, p.dir, "go.mod"), filepath.Join(root, p.dir, "go.sum"))
	case p.pkg != "":
		files = append(files, filepath.Join(root, p.pkg))
	}
	if i.userland == busybox {
		files = append(files, busyboxPath)
	}
	for _, f := range files {
		if _, err := os.Stat(f); err != nil && p.hint != "" {
			return nil, fmt.Errorf("%s: %w: build it first: %s", i.name, err, p.hint)
		}
	}
	return files, nil
}

func goVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "version").Output()
	if err != nil {
		return "", fmt.Errorf("go version: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// upToDate tells whether the archive was made from these inputs, whole.
func (s *store) upToDate(name, key string) bool {
	f, err := os.Open(s.path(name + ".key"))
	if err != nil {
		return false
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil || line != key+"\n" {
		return false
	}
	_, err = os.Stat(s.path(name + ".tar"))
	return err == nil
}
