package coldfs_test

// Names and directories under random operations, by two mounts in turns, beside a model that says what there should be and which error comes.

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
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
)

// tree is the model: by path, "/" at the end of a directory's content means that it is one.
type tree map[string]string

const isDir = "/"

func (t tree) isDir(p string) bool { return p == "." || t[p] == isDir }

func (t tree) below(p string) (names []string) {
	for name := range t {
		if strings.HasPrefix(name, p+"/") {
			names = append(names, name)
		}
	}
	return names
}

func (t tree) there(p string) bool { _, ok := t[p]; return ok || p == "." }

// lost is the error of a path whose directory isn't one; nil: it is.
func (t tree) lost(p string) error {
	for up := path.Dir(p); up != "."; up = path.Dir(up) {
		if t.there(up) && !t.isDir(up) {
			return unix.ENOTDIR
		}
	}
	if !t.there(path.Dir(p)) {
		return unix.ENOENT
	}
	return nil
}

func (t tree) write(p, content string) error {
	if err := t.lost(p); err != nil {
		return err
	}
	if t.isDir(p) {
		return unix.EISDIR
	}
	t[p] = content
	return nil
}

func (t tree) mkdir(p string) error {
	if err := t.lost(p); err != nil {
		return err
	}
	if t.there(p) {
		return unix.EEXIST
	}
	t[p] = isDir
	return nil
}

func (t tree) unlink(p string) error {
	if err := t.lost(p); err != nil {
		return err
	}
	switch {
	case !t.there(p):
		return unix.ENOENT
	case t.isDir(p):
		return unix.EISDIR
	}
	delete(t, p)
	return nil
}

func (t tree) rmdir(p string) error {
	if err := t.lost(p); err != nil {
		return err
	}
	switch {
	case !t.there(p):
		return unix.ENOENT
	case !t.isDir(p):
		return unix.ENOTDIR
	case len(t.below(p)) > 0:
		return unix.ENOTEMPTY
	}
	delete(t, p)
	return nil
}

func (t tree) rename(from, to string) error {
	if err := t.lost(from); err != nil {
		return err
	}
	if err := t.lost(to); err != nil {
		return err
	}
	switch {
	case !t.there(from):
		return unix.ENOENT
	case strings.HasPrefix(to+"/", from+"/") && from != to:
		return unix.EINVAL
	case from == to:
		return nil
	case strings.HasPrefix(from, to+"/"):
		return unix.ENOTEMPTY
	case t.there(to) && t.isDir(from) && !t.isDir(to):
		return unix.ENOTDIR
	case t.there(to) && !t.isDir(from) && t.isDir(to):
		return unix.EISDIR
	case t.isDir(to) && len(t.below(to)) > 0:
		return unix.ENOTEMPTY
	}
	for _, p := range t.below(from) {
		t[to+strings.TrimPrefix(p, from)] = t[p]
		delete(t, p)
	}
	t[to] = t[from]
	delete(t, from)
	return nil
}

// shown is what a mount shows, as the model has it.
func shown(t testing.TB, root string) tree {
	t.Helper()
	got := tree{}
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p == ".":
		case got.there(p):
			return fmt.Errorf("%s is shown twice", p)
		case d.IsDir():
			got[p] = isDir
		default:
			content, err := os.ReadFile(path.Join(root, p))
			if err != nil {
				return err
			}
			got[p] = string(content)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (t tree) String() string {
	var all []string
	for p, content := range t {
		all = append(all, fmt.Sprintf("%s=%q", p, content))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// Two mounts that believe nothing for longer than it is used, as the other has just been there; and one that believes everything, as nobody else is there.
func TestRandomNamesAndDirectories(t *testing.T) {
	never := coldfstest.Options{Config: func(c *config.Config) { c.MetadataTTL = 0 }}
	a := mount(t, never)
	t.Run("two mounts", func(t *testing.T) { randomNames(t, a, a.again(t, never)) })
	t.Run("one mount", func(t *testing.T) {
		randomNames(t, mount(t, coldfstest.Options{Config: func(c *config.Config) { c.MetadataTTL = time.Hour }}))
	})
}

func randomNames(t *testing.T, mounts ...*volume) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 6))
			base := fmt.Sprintf("seed%d", seed)
			if err := os.Mkdir(mounts[0].Path(base), 0o755); err != nil {
				t.Fatal(err)
			}
			model := tree{}
			name := func() string {
				p := []string{}
				for range 1 + r.IntN(3) {
					p = append(p, []string{"a", "b", "b-c", "%%%25%25", "ü"}[r.IntN(5)])
				}
				return path.Join(p...)
			}
			var log []string
			for step := range much(250) {
				m := mounts[r.IntN(len(mounts))]
				p, q := name(), name()
				at := func(x string) string { return m.Path(base, x) }
				var got, want error
				did := ""
				switch r.IntN(6) {
				case 0, 1:
					did = "write " + p
					content := fmt.Sprint(step)
					got, want = os.WriteFile(at(p), []byte(content), 0o644), model.write(p, content)
				case 2:
					did = "mkdir " + p
					got, want = unix.Mkdir(at(p), 0o755), model.mkdir(p)
				case 3:
					did = "rename " + p + " to " + q
					got, want = unix.Rename(at(p), at(q)), model.rename(p, q)
				case 4:
					did = "unlink " + p
					got, want = unix.Unlink(at(p)), model.unlink(p)
				case 5:
					did = "rmdir " + p
					got, want = unix.Rmdir(at(p)), model.rmdir(p)
				}
				log = append(log, fmt.Sprintf("%s: %v", did, want))
				if !errors.Is(got, want) {
					t.Fatalf("got %v\nwant %v\nafter:\n%s", got, want, strings.Join(log, "\n"))
				}
				if step%25 == 24 {
					for k, m := range mounts {
						if got := shown(t, m.Path(base)); got.String() != model.String() {
							t.Fatalf("DATA MISMATCH: mount %d shows %v\nwant %v\nafter:\n%s", k, got, model, strings.Join(log, "\n"))
						}
					}
				}
			}
		})
	}
}

// What other clients make of keys is shown in a way that is predictable, and can be read and removed.
func TestKeysThatAreNoNames(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	long := strings.Repeat("l", 255)
	deep := strings.Repeat("0123456789abcde/", 60)
	for _, key := range []string{long, "%%percent", "tab\tand\nline", "dir/x y+z&<>'\"", deep + "end"} {
		v.put(t, "vol/"+key, key)
	}
	got := shown(t, v.Dir)
	want := tree{long: long, "%%%25%25percent": "%%percent", "tab\tand\nline": "tab\tand\nline", "dir": isDir, "dir/x y+z&<>'\"": "dir/x y+z&<>'\"", deep + "end": deep + "end"}
	for p := path.Dir(deep + "end"); p != "."; p = path.Dir(p) {
		want[p] = isDir
	}
	if got.String() != want.String() {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, c := range []struct {
		name string
		want error
	}{
		{long + "l", unix.ENAMETOOLONG},
		{path.Join(deep, strings.Repeat("n", 80)), unix.ENAMETOOLONG}, // a key of more than 1024 bytes
		{"%%free", unix.EINVAL},
		{"%%dir%", unix.EINVAL},
		{"%%", unix.EINVAL},
		{"dir/%%%2E%2E", unix.EINVAL},
	} {
		if err := os.WriteFile(v.Path(c.name), nil, 0o644); !errors.Is(err, c.want) {
			t.Errorf("%.40s...: got %v, want %v", c.name, err, c.want)
		}
	}
	if err := os.RemoveAll(v.Path()); err != nil && !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
	page, err := v.bucket.List(t.Context(), s3.ListRequest{Prefix: "vol/"})
	if err != nil || len(page.Objects) > 0 {
		t.Errorf("after all was removed there are %v, %v", page.Objects, err)
	}
}

// A directory that another client made by a key alone stays when its last file is removed here.
func TestADirectoryStaysWhenItsLastFileGoes(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: func(c *config.Config) { c.MetadataTTL = 0 }})
	v.put(t, "vol/implied/deep/f", "x")
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"remove a file", func() error { return os.Remove(v.Path("implied/deep/f")) }},
		{"the directory is there", func() error { _, err := os.Stat(v.Path("implied/deep")); return err }},
		{"remove the directory", func() error { return os.Remove(v.Path("implied/deep")) }},
		{"the one above is there", func() error { _, err := os.Stat(v.Path("implied")); return err }},
		{"remove it", func() error { return os.Remove(v.Path("implied")) }},
	} {
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
}

func TestADirectoryOfManyFiles(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	const files = 2500
	for k := range files {
		v.put(t, fmt.Sprintf("vol/d/f%05d", k), "x")
	}
	d, err := os.Open(v.Path("d"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fresh, err := os.Create(v.Path("d", "fresh"))
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	seen := map[string]bool{}
	removed := 0
	for {
		names, err := d.Readdirnames(100)
		for _, name := range names {
			if seen[name] {
				t.Fatalf("%s is shown twice", name)
			}
			seen[name] = true
			// As rm -r does it: what was shown is removed while the rest is read.
			if name != "fresh" && removed < 300 {
				removed++
				if err := os.Remove(v.Path("d", name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err != nil {
			break
		}
	}
	if len(seen) != files+1 {
		t.Errorf("%d names are shown, want %d", len(seen), files+1)
	}
	if _, err := d.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	names, err := d.Readdirnames(-1)
	if err != nil || len(names) != files+1-removed {
		t.Errorf("from the beginning again %d names are shown, want %d, %v", len(names), files+1-removed, err)
	}
}
