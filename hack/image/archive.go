package main

// Archives of one layer in the form of "docker save": manifest.json, a configuration and the layer. The same input gives the same bytes.

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// config is the part of an image's configuration that says how it runs (OCI image specification, config.md).
type config struct {
	User       string            `json:",omitempty"`
	Env        []string          `json:",omitempty"`
	Entrypoint []string          `json:",omitempty"`
	Cmd        []string          `json:",omitempty"`
	Labels     map[string]string `json:",omitempty"`
}

// imageConfig is the configuration of an image.
type imageConfig struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Created      time.Time `json:"created"`
	Config       config    `json:"config"`
	RootFS       struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// manifest is one element of manifest.json.
type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// entry is one file, directory (its name ends in a slash) or link of a layer.
type entry struct {
	name string // absolute in the image
	link string // what a symbolic link points to
	mode int64
	data []byte
}

// writeLayer writes a layer. Directories on the way to an entry must be entries, too.
func writeLayer(w io.Writer, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Name: strings.TrimPrefix(e.name, "/"), Mode: e.mode, Typeflag: tar.TypeReg, Size: int64(len(e.data)), ModTime: time.Unix(0, 0)}
		switch {
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(e.data); err != nil {
			return err
		}
	}
	return t.Close()
}

// writeArchive writes an image of the layer in the file layer.
func writeArchive(w io.Writer, reference, goarch string, c config, layer string) error {
	f, err := os.Open(layer)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	id := hex.EncodeToString(sum.Sum(nil))
	ic := imageConfig{Architecture: goarch, OS: "linux", Created: time.Unix(0, 0).UTC(), Config: c}
	ic.RootFS.Type, ic.RootFS.DiffIDs = "layers", []string{"sha256:" + id}
	cb, err := json.Marshal(ic)
	if err != nil {
		return err
	}
	csum := sha256.Sum256(cb)
	m := manifest{Config: hex.EncodeToString(csum[:]) + ".json", RepoTags: []string{reference}, Layers: []string{id + ".tar"}}
	mb, err := json.Marshal([]manifest{m})
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, part := range []struct {
		name string
		size int64
		from io.Reader
	}{
		{m.Layers[0], size, f},
		{m.Config, int64(len(cb)), strings.NewReader(string(cb))},
		{"manifest.json", int64(len(mb)), strings.NewReader(string(mb))},
	} {
		if err := t.WriteHeader(&tar.Header{Name: part.name, Mode: 0o444, Size: part.size, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
		if _, err := io.Copy(t, part.from); err != nil {
			return err
		}
	}
	return t.Close()
}

// readArchive returns the references and the configuration in an archive of one image, whoever wrote it.
func readArchive(name string) (references []string, c imageConfig, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, imageConfig{}, err
	}
	defer f.Close()
	small := map[string][]byte{}
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, imageConfig{}, fmt.Errorf("%s: %w", name, err)
		}
		if path.Ext(h.Name) == ".json" && h.Size < 1<<20 {
			if small[h.Name], err = io.ReadAll(t); err != nil {
				return nil, imageConfig{}, fmt.Errorf("%s: %s: %w", name, h.Name, err)
			}
		}
	}
	var m []manifest
	if err := json.Unmarshal(small["manifest.json"], &m); err != nil {
		return nil, imageConfig{}, fmt.Errorf("%s: manifest.json: %w", name, err)
	}
	if len(m) != 1 {
		return nil, imageConfig{}, fmt.Errorf("%s: %d images, not one", name, len(m))
	}
	if err := json.Unmarshal(small[m[0].Config], &c); err != nil {
		return nil, imageConfig{}, fmt.Errorf("%s: %s: %w", name, m[0].Config, err)
	}
	return slices.Clone(m[0].RepoTags), c, nil
}
