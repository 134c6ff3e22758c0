package names

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/tests/harness"
)

func TestMain(m *testing.M) {
	coldfstest.Main()
	os.Exit(m.Run())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// volume is a mounted volume and what another client sees of it.
type volume struct {
	*coldfstest.Mount
	bucket *s3.Bucket
}

// mount mounts a volume of a bucket that has these keys below its prefix; each object has its key for content.
func mount(t *testing.T, keys ...string) *volume {
	t.Helper()
	endpoint, key, err := harness.Gateway(harness.NewCeph(t).Dir)
	must(t, err)
	server := &s3test.Server{Endpoint: endpoint, Credentials: key}
	name := fmt.Sprintf("names-%d", time.Now().UnixNano())
	bucket := server.Open(t, endpoint, name, s3.Options{})
	must(t, bucket.Create(t.Context()))
	for _, k := range keys {
		put(t, bucket, k)
	}
	return &volume{coldfstest.Start(t, server, name, coldfstest.Options{Config: func(c *config.Config) { c.MetadataTTL = 0 }}), bucket}
}

func put(t *testing.T, b *s3.Bucket, key string) {
	t.Helper()
	content := key
	if strings.HasSuffix(key, "/") {
		content = "" // the marker of a directory
	}
	_, err := b.Put(t.Context(), "vol/"+key, strings.NewReader(content), int64(len(content)), s3.WriteOptions{})
	if err != nil {
		t.Fatalf("put %.80q: %v", key, err)
	}
}

// keys are all keys of the volume, without the markers of directories and what the driver keeps for itself, and the content of each.
func (v *volume) keys(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for r := (s3.ListRequest{Prefix: "vol/"}); ; {
		page, err := v.bucket.List(t.Context(), r)
		must(t, err)
		for _, o := range page.Objects {
			key := strings.TrimPrefix(o.Key, "vol/")
			if strings.HasSuffix(key, "/") || strings.HasPrefix(key, ".strata/") {
				continue
			}
			body, err := v.bucket.Get(t.Context(), o.Key, o.ETag, 0, o.Size)
			must(t, err)
			content, err := io.ReadAll(body)
			must(t, errors.Join(err, body.Close()))
			all[key] = string(content)
		}
		if r.Token = page.Next; page.Next == "" {
			return all
		}
	}
}

// shown are all files that the mount shows, and the content of each.
func (v *volume) shown(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, fs.WalkDir(os.DirFS(v.Dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if _, twice := all[p]; twice {
			return fmt.Errorf("%q is shown twice", p)
		}
		content, err := os.ReadFile(v.Path(p))
		all[p] = string(content)
		return err
	}))
	return all
}

// want compares files or keys and what they hold.
func want(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if content, ok := want[name]; !ok {
			t.Errorf("DATA MISMATCH: %s has %.80q", what, name)
		} else if got[name] != content {
			t.Errorf("DATA MISMATCH: %s: %.80q holds %.80q, want %.80q", what, name, got[name], content)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, ok := got[name]; !ok {
			t.Errorf("DATA MISMATCH: %s has no %.80q", what, name)
		}
	}
}

var (
	longest = strings.Repeat("l", 255)
	// special are keys, and the files that a mount shows for them.
	special = map[string]string{
		"d": "%%d%", "d/x": "d/x", // an object beside a directory
		"e": "%%e%", "e/": "", // and beside one that has a marker and nothing else
		"a//b": "a/%%/b", "a///c": "a/%%/%%/c", "/r": "%%/r", // empty segments
		"p/./q": "p/%%%2E/q", "p/../q": "p/%%%2E%2E/q", "p/.": "p/%%%2E%", "p/..": "p/%%%2E%2E%", "p/...": "p/...",
		"%%percent": "%%%25%25percent", "%%d%": "%%%25%25d%25", "%one": "%one", "100%": "100%",
		longest:            longest,
		"c/tab\tand\nline": "c/tab\tand\nline", "c/del\x7f": "c/del\x7f",
		"u/x y+z&<>'\"": "u/x y+z&<>'\"", "u/#?;=@:%41\\": "u/#?;=@:%41\\", "u/ü€😀": "u/ü€😀", "u/ ": "u/ ",
	}
	// hidden are keys that have no name.
	hidden = []string{"h/" + longest + "l", "h/%%" + strings.Repeat("l", 250), "h/" + longest + "l/below"}
)

func specialKeys() (keys []string, files, objects map[string]string) {
	files, objects = map[string]string{}, map[string]string{}
	for key, name := range special {
		keys = append(keys, key)
		if name != "" {
			files[name], objects[key] = key, key
		}
	}
	slices.Sort(keys)
	return keys, files, objects
}

func TestKeysThatAreNoNamesAreShownAndRead(t *testing.T) {
	keys, files, objects := specialKeys()
	v := mount(t, append(keys, hidden...)...)
	want(t, "the mount", v.shown(t), files)
	for _, dir := range []string{"d", "e", "a/%%", "a/%%/%%", "%%", "p/%%%2E", "p/%%%2E%2E", "h"} {
		if info, err := os.Stat(v.Path() + "/" + dir); err != nil || !info.IsDir() {
			t.Errorf("%q is no directory: %v", dir, err)
		}
	}
	for name, errno := range map[string]unix.Errno{
		"%%free": unix.ENOENT, "%%d": unix.ENOENT, "a/%%%": unix.ENOENT, "u/\xff": unix.ENOENT, "h/" + longest + "l": unix.ENAMETOOLONG, ".strata": unix.ENOENT,
	} {
		if _, err := os.Lstat(v.Dir + "/" + name); !errors.Is(err, errno) {
			t.Errorf("%.40q: %v, want %v", name, err, errno)
		}
	}
	// Nothing is lost by being looked at.
	for _, key := range hidden {
		objects[key] = key
	}
	want(t, "the store", v.keys(t), objects)
}

func TestKeysThatAreNoNamesAreWritten(t *testing.T) {
	keys, files, objects := specialKeys()
	v := mount(t, keys...)
	for name, key := range files {
		f, err := os.OpenFile(v.Dir+"/"+name, os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		_, err = f.WriteString(", written")
		must(t, errors.Join(err, f.Close()))
		files[name] += ", written"
		objects[key] = files[name]
	}
	want(t, "the store", v.keys(t), objects)
	want(t, "the mount", v.shown(t), files)
}

// Names that a mount shows can be renamed to any that can be made; back to one that can't is refused, and then nothing has changed.
func TestKeysThatAreNoNamesAreRenamed(t *testing.T) {
	keys, files, objects := specialKeys()
	v := mount(t, keys...)
	for k, name := range slices.Sorted(maps.Keys(files)) {
		key, fresh := files[name], fmt.Sprint("renamed-", k)
		if err := os.Rename(v.Dir+"/"+name, v.Path(fresh)); err != nil {
			t.Fatalf("rename %.80q: %v", name, err)
		}
		delete(files, name)
		delete(objects, key)
		base := path.Base(name)
		if back := os.Rename(v.Path(fresh), v.Dir+"/"+name); strings.HasPrefix(base, "%%") && strings.Trim(base, "%") != "25%25percent" && strings.Trim(base, "%") != "25%25d%25" {
			if !errors.Is(back, unix.EINVAL) {
				t.Errorf("rename to %.80q: %v", name, back)
			}
			files[fresh], objects[fresh] = key, key
		} else {
			if back != nil {
				t.Errorf("rename back to %.80q: %v", name, back)
			}
			files[name], objects[key] = key, key
		}
	}
	want(t, "the store", v.keys(t), objects)
	want(t, "the mount", v.shown(t), files)
	for _, name := range []string{"d/\xff", "%%new", "d/%%", "%%new%"} {
		if err := os.Rename(v.Path("100%"), v.Dir+"/"+name); !errors.Is(err, unix.EINVAL) {
			t.Errorf("rename to %q: %v", name, err)
		}
		if err := os.WriteFile(v.Dir+"/"+name, nil, 0o644); !errors.Is(err, unix.EINVAL) {
			t.Errorf("create %q: %v", name, err)
		}
		if err := os.Mkdir(v.Dir+"/"+name, 0o755); !errors.Is(err, unix.EINVAL) {
			t.Errorf("mkdir %q: %v", name, err)
		}
	}
	want(t, "the store", v.keys(t), objects)
}

func TestDirectoriesOfKeysThatAreNoNamesAreRenamed(t *testing.T) {
	v := mount(t, "a//b", "a///c", "a/x", "p/../q", "p/./q", "d", "d/x")
	for _, c := range []struct{ from, to string }{
		{"a", "moved"},            // what is below goes along
		{"moved/%%", "moved/two"}, // and one that has no name of its own
		{"p/%%%2E%2E", "p/up"},
		{"d", "other"}, // the directory, not the object beside it
	} {
		if err := os.Rename(v.Dir+"/"+c.from, v.Dir+"/"+c.to); err != nil {
			t.Errorf("rename %q to %q: %v", c.from, c.to, err)
		}
	}
	want(t, "the store", v.keys(t), map[string]string{"moved/two/b": "a//b", "moved/two//c": "a///c", "moved/x": "a/x", "p/up/q": "p/../q", "p/./q": "p/./q", "d": "d", "other/x": "d/x"})
	want(t, "the mount", v.shown(t), map[string]string{"moved/two/b": "a//b", "moved/two/%%/c": "a///c", "moved/x": "a/x", "p/up/q": "p/../q", "p/%%%2E/q": "p/./q", "d": "d", "other/x": "d/x"})
}

func TestKeysThatAreNoNamesAreRemoved(t *testing.T) {
	keys, files, objects := specialKeys()
	v := mount(t, append(keys, hidden...)...)
	// Of an object and the directory beside it each goes alone.
	must(t, os.Remove(v.Path("%%d%")))
	delete(files, "%%d%")
	delete(objects, "d")
	must(t, os.Remove(v.Path("e")))
	delete(files, "%%e%")
	files["e"] = "e"
	want(t, "the mount", v.shown(t), files)
	for _, key := range hidden {
		objects[key] = key
	}
	want(t, "the store", v.keys(t), objects)
	for name := range files {
		if err := os.Remove(v.Dir + "/" + name); err != nil {
			t.Errorf("remove %.80q: %v", name, err)
		}
	}
	want(t, "the mount", v.shown(t), nil)
	entries, err := os.ReadDir(v.Dir)
	must(t, err)
	for _, e := range entries {
		err := os.RemoveAll(v.Path(e.Name()))
		if e.Name() != "h" {
			must(t, err)
		} else if !errors.Is(err, unix.ENOTEMPTY) {
			t.Errorf("a directory that has what can't be shown: %v", err)
		}
	}
	left := map[string]string{}
	for _, key := range hidden {
		left[key] = key
	}
	want(t, "the store", v.keys(t), left)
}

// Another client's key at the limit, with segments that have no names of their own in it.
func TestTheLongestKeyOfAnotherClient(t *testing.T) {
	key := "/../" + longest + "/" + longest + "/"
	key += strings.Repeat("k", 255) + "/"
	key += strings.Repeat("f", s3.MaxKeyLength-len("vol/")-len(key))
	v := mount(t, key)
	name := "%%/%%%2E%2E" + strings.TrimPrefix(key, "/..")
	want(t, "the mount", v.shown(t), map[string]string{name: key})
	must(t, os.Rename(v.Dir+"/"+name, v.Path("short")))
	want(t, "the store", v.keys(t), map[string]string{"short": key})
	must(t, os.Rename(v.Path("short"), v.Dir+"/"+name))
	must(t, os.WriteFile(v.Dir+"/"+name, []byte("written"), 0o644))
	want(t, "the store", v.keys(t), map[string]string{key: "written"})
	want(t, "the mount", v.shown(t), map[string]string{name: "written"})
	if err := os.WriteFile(v.Dir+"/"+name+"f", nil, 0o644); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("a byte more: %v", err)
	}
	if err := os.Mkdir(v.Dir+"/"+path.Dir(name)+"/"+strings.Repeat("g", len(path.Base(name))), 0o755); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("a directory of as many bytes: %v", err)
	}
	must(t, os.RemoveAll(v.Path("%%")))
	want(t, "the store", v.keys(t), nil)
}
