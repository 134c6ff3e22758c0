package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArchiveSaysWhatItWasGiven(t *testing.T) {
	dir := t.TempDir()
	var layer bytes.Buffer
	entries := []entry{
		{name: "/bin/", mode: 0o755},
		{name: "/bin/tool", mode: 0o755, data: []byte("program")},
		{name: "/bin/sh", link: "/bin/tool", mode: 0o777},
	}
	if err := writeLayer(&layer, entries); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "layer.tar")
	if err := os.WriteFile(file, layer.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	want := config{User: "1:2", Env: []string{"A=b"}, Entrypoint: []string{"/bin/tool"}, Cmd: []string{"x"}, Labels: map[string]string{"k": "v"}}
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := writeArchive(w, "registry.example/a:1", "amd64", want, file); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same input gives two archives")
	}
	archive := filepath.Join(dir, "a.tar")
	if err := os.WriteFile(archive, first.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	references, got, err := readArchive(archive)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"registry.example/a:1"}, references); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, got.Config); diff != "" {
		t.Error(diff)
	}
	if got.Architecture != "amd64" || got.OS != "linux" || len(got.RootFS.DiffIDs) != 1 {
		t.Errorf("configuration %+v", got)
	}
}

func TestLayerHasFilesDirectoriesAndLinks(t *testing.T) {
	var layer bytes.Buffer
	if err := writeLayer(&layer, userlandEntries([]byte("program"), []string{"bin/sh", "usr/bin/dd", "bin/busybox", "linuxrc"})); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(&layer); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := got[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		got[h.Name] = h.Linkname
		if dir := filepath.Dir(strings.TrimSuffix(h.Name, "/")); dir != "." {
			if _, ok := got[dir+"/"]; !ok {
				t.Errorf("%s comes before its directory", h.Name)
			}
		}
		if h.Name == "tmp/" && h.Mode != 0o1777 {
			t.Errorf("/tmp has mode %o", h.Mode)
		}
	}
	for name, link := range map[string]string{"bin/busybox": "", "bin/sh": "/bin/busybox", "usr/bin/dd": "/bin/busybox", "etc/passwd": "", "tmp/": ""} {
		if l, ok := got[name]; !ok || l != link {
			t.Errorf("%s: link to %q, there: %t; want a link to %q", name, l, ok, link)
		}
	}
	if _, ok := got["linuxrc"]; ok {
		t.Error("linuxrc is in no directory of the userland")
	}
}

func TestReadArchiveRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, files := range map[string]map[string]string{
		"no manifest":  {"a.json": "{}"},
		"two images":   {"manifest.json": `[{"Config":"a.json"},{"Config":"a.json"}]`, "a.json": "{}"},
		"no config":    {"manifest.json": `[{"Config":"a.json"}]`},
		"not an array": {"manifest.json": `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			var entries []entry
			for n, text := range files {
				entries = append(entries, entry{name: n, mode: 0o444, data: []byte(text)})
			}
			if err := replace(file, func(f *os.File) error { return writeLayer(f, entries) }); err != nil {
				t.Fatal(err)
			}
			if _, _, err := readArchive(file); err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("got %v, want an error that names the file", err)
			}
		})
	}
}
