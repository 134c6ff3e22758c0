package attributes

import (
	"maps"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var fallback = Attributes{Mode: unix.S_IFREG | 0o644, UID: 1000, GID: 2000, Mtime: time.Unix(7, 0), Target: -1}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name     string
		metadata map[string]string
		want     Attributes
	}{
		{"nothing", nil, fallback},
		{"of s3fs", map[string]string{"mode": "33261", "uid": "0", "gid": "5", "mtime": "1700000000"},
			Attributes{unix.S_IFREG | 0o755, 0, 5, time.Unix(1700000000, 0), -1}},
		{"with a fraction", map[string]string{"mtime": "1700000000.000000001"},
			Attributes{fallback.Mode, 1000, 2000, time.Unix(1700000000, 1), -1}},
		{"with a short fraction", map[string]string{"mtime": "1.5"},
			Attributes{fallback.Mode, 1000, 2000, time.Unix(1, 5e8), -1}},
		{"with a long fraction", map[string]string{"mtime": "1.1234567899"},
			Attributes{fallback.Mode, 1000, 2000, time.Unix(1, 123456789), -1}},
		{"before 1970", map[string]string{"mtime": "-1.25"},
			Attributes{fallback.Mode, 1000, 2000, time.Unix(-1, 25e7), -1}},
		{"a symlink", map[string]string{"mode": "41471", "strata-target-length": "3"},
			Attributes{unix.S_IFLNK | 0o777, 1000, 2000, time.Unix(7, 0), 3}},
		{"the mode of a directory", map[string]string{"mode": "16877"},
			Attributes{unix.S_IFREG | 0o755, 1000, 2000, time.Unix(7, 0), -1}},
		{"nonsense", map[string]string{"mode": "rwx", "uid": "-1", "gid": "4294967296", "mtime": "yesterday", "strata-target-length": "5000"}, fallback},
		{"a time out of the world", map[string]string{"mtime": "9999999999999999"}, fallback},
		{"a fraction of letters", map[string]string{"mtime": "1.x"}, fallback},
	} {
		if got := Parse(c.metadata, fallback); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestMetadataIsReadAsItWasWritten(t *testing.T) {
	for _, a := range []Attributes{
		{unix.S_IFREG | 0o4755, 1, 4294967295, time.Unix(1700000000, 123456789), -1},
		{unix.S_IFREG, 0, 0, time.Unix(0, 0), -1},
		{unix.S_IFREG, 0, 0, time.Unix(-3, 1), -1},
		{unix.S_IFLNK | 0o777, 3, 4, time.Unix(5, 600), 4095},
	} {
		m := a.Metadata(map[string]string{"owner": "somebody", "mode": "1", "strata-target-length": "9"})
		if got := Parse(m, Attributes{Mode: unix.S_IFREG}); got != a {
			t.Errorf("%+v became %+v, by %v", a, got, m)
		}
		if m["owner"] != "somebody" {
			t.Errorf("the metadata of another program is lost: %v", m)
		}
	}
	if !In(fallback.Metadata(nil)) || In(map[string]string{"owner": "somebody"}) || In(nil) {
		t.Error("In doesn't tell")
	}
	if m := (Attributes{}).Metadata(map[string]string{"mtime": "1"}); m["mtime"] != "" {
		t.Errorf("without a time there is one: %v", m)
	}
	was := map[string]string{"a": "b"}
	fallback.Metadata(was)
	if !maps.Equal(was, map[string]string{"a": "b"}) {
		t.Errorf("the given metadata was changed: %v", was)
	}
}

func TestSymlinks(t *testing.T) {
	for _, target := range []string{"", "a", "../x ", "ends with a line end\n", strings.Repeat("x", MaxTarget)} {
		content := Symlink(target)
		if len(content) != SymlinkSize {
			t.Errorf("the content has %d bytes, want %d", len(content), SymlinkSize)
		}
		if got := (Attributes{Target: len(target)}).TargetOf(content); got != target {
			t.Errorf("got %q, want %q", got, target)
		}
	}
	if got := (Attributes{Target: -1}).TargetOf([]byte("of/s3fs\n")); got != "of/s3fs" {
		t.Errorf("got %q of s3fs", got)
	}
}
