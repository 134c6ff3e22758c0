package coldfs_test

// Keys of as many bytes as S3 allows, and names that would make longer ones.

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/s3"
)

// longPaths are a path of directories, and a name in the last of them whose key has s3.MaxKeyLength bytes. The names are of 100 bytes, as the server for tests takes no object of a longer one twice.
func longPaths(prefix string) (deep, longest string) {
	for len(prefix)+len(deep) < s3.MaxKeyLength-200 {
		deep = path.Join(deep, strings.Repeat("d", 100))
	}
	return deep, strings.Repeat("k", s3.MaxKeyLength-len(prefix)-len(deep)-1)
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestTheLongestKey(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: func(c *config.Config) { c.MetadataTTL = 0 }})
	deep, longest := longPaths("vol/")
	long := path.Join(deep, longest)
	key := "vol/" + long
	if len(key) != 1024 {
		t.Fatalf("the key has %d bytes", len(key))
	}
	// holds wants exactly this of the key, and of what the mount shows.
	holds := func(content string) {
		t.Helper()
		if got := string(v.object(t, key)); got != content {
			t.Errorf("DATA MISMATCH: the store has %d bytes, want %d", len(got), len(content))
		}
		if got := read(t, v.Path(long)); got != content {
			t.Errorf("DATA MISMATCH: it reads as %d bytes, want %d", len(got), len(content))
		}
		entries, err := os.ReadDir(v.Path(deep))
		if err != nil || len(entries) != 1 || entries[0].Name() != longest || entries[0].IsDir() {
			t.Errorf("the directory has %v, %v", entries, err)
		}
	}
	lost := func() {
		t.Helper()
		if _, err := os.Stat(v.Path(long)); !errors.Is(err, unix.ENOENT) {
			t.Errorf("it is there still: %v", err)
		}
		if _, err := v.bucket.Head(t.Context(), key); !errors.Is(err, s3.ErrNotFound) {
			t.Errorf("the store has it still: %v", err)
		}
	}
	must(t, "mkdir", os.MkdirAll(v.Path(deep), 0o755))
	for _, size := range []int{100, 9 << 20} { // one request, and parts
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			content := strings.Repeat("x", size)
			must(t, "write", os.WriteFile(v.Path(long), []byte(content), 0o644))
			holds(content)
			f, err := os.OpenFile(v.Path(long), os.O_WRONLY|os.O_APPEND, 0)
			must(t, "open", err)
			_, err = f.WriteString("appended")
			must(t, "append", errors.Join(err, f.Sync(), f.Close()))
			content += "appended"
			holds(content)
			must(t, "chmod", os.Chmod(v.Path(long), 0o600))
			must(t, "truncate", os.Truncate(v.Path(long), 50))
			holds(content[:50])
			must(t, "rename from it", os.Rename(v.Path(long), v.Path("short")))
			lost()
			must(t, "rename to it", os.Rename(v.Path("short"), v.Path(long)))
			holds(content[:50])
			must(t, "remove", os.Remove(v.Path(long)))
			lost()
		})
	}
	must(t, "symlink", os.Symlink("target", v.Path(long)))
	if target, err := os.Readlink(v.Path(long)); err != nil || target != "target" {
		t.Errorf("the symlink leads to %q, %v", target, err)
	}
	must(t, "remove the symlink", os.Remove(v.Path(long)))

	// What another client made can be used the same.
	must(t, "remove the directories", os.RemoveAll(v.Path(strings.Repeat("d", 100))))
	v.put(t, key, "of another")
	holds("of another")
	must(t, "rename another's", os.Rename(v.Path(long), v.Path("short")))
	lost()
	must(t, "rename it back", os.Rename(v.Path("short"), v.Path(long)))
	holds("of another")
	must(t, "write to it", os.WriteFile(v.Path(long), []byte("mine"), 0o644))
	holds("mine")
	must(t, "remove all", os.RemoveAll(v.Path(strings.Repeat("d", 100))))
	lost()
}

// A directory's key has a '/' behind it: one at the limit can be made, and holds nothing.
func TestADirectoryWithTheLongestKey(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: func(c *config.Config) { c.MetadataTTL = 0 }})
	deep, longest := longPaths("vol/")
	if err := os.MkdirAll(v.Path(deep), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(v.Path(deep, longest), 0o755); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("one whose key has a byte too many: %v", err)
	}
	dir := v.Path(deep, longest[1:])
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := v.bucket.Head(t.Context(), "vol/"+deep+"/"+longest[1:]+"/"); err != nil {
		t.Errorf("its marker: %v", err)
	}
	if err := os.WriteFile(path.Join(dir, "x"), nil, 0o644); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("a file in it: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("it has %v, %v", entries, err)
	}
	if err := os.Rename(dir, v.Path("short")); err != nil {
		t.Errorf("rename it: %v", err)
	}
	if err := os.Rename(v.Path("short"), v.Path(deep, longest)); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("rename to a key with a byte too many: %v", err)
	}
	if err := os.Rename(v.Path("short"), dir); err != nil {
		t.Errorf("rename it back: %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Errorf("remove it: %v", err)
	}
}

func TestKeysThatWouldBeTooLongAreRefused(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: func(c *config.Config) { c.MetadataTTL = 0 }})
	deep, longest := longPaths("vol/")
	if err := os.MkdirAll(v.Path(deep), 0o755); err != nil {
		t.Fatal(err)
	}
	tooLong := v.Path(deep, longest+"k")
	write(t, v.Path("file"), "content")
	if err := os.MkdirAll(v.Path("dir", "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, stat := os.Stat(tooLong)
	for what, err := range map[string]error{
		"create":             os.WriteFile(tooLong, nil, 0o644),
		"mknod":              unix.Mknod(tooLong, unix.S_IFREG|0o644, 0),
		"mkdir":              os.Mkdir(tooLong, 0o755),
		"symlink":            os.Symlink("file", tooLong),
		"rename a file":      os.Rename(v.Path("file"), tooLong),
		"rename a directory": os.Rename(v.Path("dir"), tooLong),
		"stat":               stat,
		"remove":             os.Remove(tooLong),
	} {
		if !errors.Is(err, unix.ENAMETOOLONG) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := read(t, v.Path("file")); got != "content" {
		t.Errorf("DATA MISMATCH: the file that was to be renamed has %q", got)
	}

	// A directory whose own new key is short enough, but not what is below it: nothing is moved.
	name := longest[:len(longest)-len("/sub/file")+1]
	write(t, v.Path("dir", "sub", "file"), "below")
	write(t, v.Path("dir", "a"), "beside it")
	before := shown(t, v.Path("dir"))
	if err := os.Rename(v.Path("dir"), v.Path(deep, name)); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("rename what is above a file whose key would be too long: %v", err)
	}
	if got := shown(t, v.Path("dir")); got.String() != before.String() {
		t.Errorf("DATA MISMATCH: the directory has %v, want %v", got, before)
	}
	if entries, err := os.ReadDir(v.Path(deep)); err != nil || len(entries) > 0 {
		t.Errorf("at the new name: %v, %v", entries, err)
	}
	page, err := v.bucket.List(t.Context(), s3.ListRequest{Prefix: "vol/.strata/"})
	if err != nil || len(page.Objects) > 0 {
		t.Errorf("what is left to be done: %v, %v", page.Objects, err)
	}
	// One byte less, and it is moved.
	if err := os.Rename(v.Path("dir"), v.Path(deep, name[1:])); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, v.Path(deep, name[1:])); got.String() != before.String() {
		t.Errorf("DATA MISMATCH: the directory has %v, want %v", got, before)
	}
}
