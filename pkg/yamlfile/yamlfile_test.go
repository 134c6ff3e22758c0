package yamlfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEveryMistakeIsListed(t *testing.T) {
	var m Mistakes
	root := m.Object("the file", m.Parse([]byte("name: 0755\nlits: [a]\nlist: {a: 1}\ntexts: [a, yes, [b]]\nmap: [1.5]\n")), []string{"name", "list", "texts", "map"})
	m.Text("name", root["name"])
	if got := m.List("list", root["list"]); len(got) != 0 {
		t.Errorf("a map as a list: %v", got)
	}
	if got := m.Texts("texts", root["texts"]); !cmp.Equal(got, []string{"a", "", ""}) {
		t.Errorf("texts: %q", got)
	}
	m.Object("map", root["map"], nil)
	want := `f.yaml has 6 mistakes:
  the file: unknown key "lits", did you mean "list"? (known: name, list, texts, map)
  name: must be text, not a number; put it in quotes
  list: must be a list, not a map
  texts[1]: must be text, not true or false; put it in quotes
  texts[2]: must be text, not a list; put it in quotes
  map: must be a map of names to values, not a list`
	if err := m.Err("f.yaml"); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestOneMistakeAndNone(t *testing.T) {
	var m Mistakes
	root := m.Object("the file", m.Parse([]byte("a: {}\n")), []string{"a", "b"})
	if o, l, s := m.Object("b", root["b"], nil), m.List("b", root["b"]), m.Text("b", root["b"]); len(o)+len(l)+len(s) != 0 || m.Err("f") != nil {
		t.Errorf("what is missing: %v, %v, %q, %v", o, l, s, m.Err("f"))
	}
	m.Add("a", "must be %d", 3)
	if err := m.Err("f"); err == nil || err.Error() != "f: a: must be 3" {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsNotYAML(t *testing.T) {
	for name, text := range map[string]string{"open list": "a: [", "key twice": "a: 1\na: 2\n", "tab": "a:\n\tb: 1\n"} {
		var m Mistakes
		if v := m.Parse([]byte(text)); v != nil || m.Err("f") == nil || !strings.Contains(m.Err("f").Error(), "not valid YAML") {
			t.Errorf("%s: %v, %v", name, v, m.Err("f"))
		}
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.yaml")
	if _, err := Read("the list", path); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "the list: ") {
		t.Errorf("without a file: %v", err)
	}
	for size, ok := range map[int]bool{MaxSize: true, MaxSize + 1: false} {
		if err := os.WriteFile(path, []byte(strings.Repeat("#", size)), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := Read("the list", path)
		if (err == nil) != ok || ok && len(text) != size || !ok && !strings.Contains(err.Error(), "at most") {
			t.Errorf("%d bytes: %d read, %v", size, len(text), err)
		}
	}
}
