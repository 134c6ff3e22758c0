// Package yamlfile reads configuration files so that their writer sees everything that is wrong at once, each mistake with the path of
// its field, what is allowed and, for an unknown key, the one that was probably meant.
//
// It takes a file apart by its generic JSON form, because encoding/json takes keys in any case, ignores an unknown key's neighbours in
// its error, and would turn `mode: 0755` into the text "493".
package yamlfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/strata-csi/strata/pkg/suggest"
)

// MaxSize is the most bytes a file may have.
const MaxSize = 1 << 20

// Read returns the text of the file. Its errors call it what, such as "cluster configuration".
func Read(what, path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if info.Size() > MaxSize {
		return nil, fmt.Errorf("%s %s: has %d bytes and at most %d are allowed", what, path, info.Size(), MaxSize)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return text, nil
}

// Mistakes gathers everything that is wrong with a file. Its methods that take a value apart add what is wrong with it, and
// return what is usable.
type Mistakes []string

// Add says what is wrong with a field, such as "clusters[0].monitors".
func (m *Mistakes) Add(field, format string, args ...any) {
	*m = append(*m, field+": "+fmt.Sprintf(format, args...))
}

// Err is nil without a mistake, else an error that names the file and lists them all.
func (m Mistakes) Err(file string) error {
	switch len(m) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s: %s", file, m[0])
	}
	return fmt.Errorf("%s has %d mistakes:\n  %s", file, len(m), strings.Join(m, "\n  "))
}

// Parse reads the text into maps, lists, text, json.Number, bool and nil. A key that stands twice in one map is a mistake.
func (m *Mistakes) Parse(text []byte) any {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		m.Add("not valid YAML", "%v", err)
		return nil
	}
	var root any
	d := json.NewDecoder(bytes.NewReader(asJSON))
	d.UseNumber()
	if err := d.Decode(&root); err != nil {
		m.Add("not valid YAML", "%v", err)
		return nil
	}
	return root
}

// Object returns the value's fields; without valid, any key is allowed. A missing value has none.
func (m *Mistakes) Object(field string, v any, valid []string) map[string]any {
	if v == nil {
		return nil
	}
	o, ok := v.(map[string]any)
	if !ok {
		m.Add(field, "must be a map of names to values, not %s", Kind(v))
		return nil
	}
	if valid == nil {
		return o
	}
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(valid, key) {
			m.Add(field, "unknown key %q%s (known: %s)", key, suggest.Hint(key, valid), strings.Join(valid, ", "))
		}
	}
	return o
}

// List returns the value's entries. A missing value has none.
func (m *Mistakes) List(field string, v any) []any {
	if v == nil {
		return nil
	}
	l, ok := v.([]any)
	if !ok {
		m.Add(field, "must be a list, not %s", Kind(v))
	}
	return l
}

// Text takes nothing but text: YAML reads 0755 as the number 493 and yes as true, and only the writer knows what was meant. A missing
// value is "".
func (m *Mistakes) Text(field string, v any) string {
	if v == nil {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		m.Add(field, "must be text, not %s; put it in quotes", Kind(v))
	}
	return s
}

// Texts is a list of nothing but text.
func (m *Mistakes) Texts(field string, v any) []string {
	var texts []string
	for i, e := range m.List(field, v) {
		texts = append(texts, m.Text(fmt.Sprintf("%s[%d]", field, i), e))
	}
	return texts
}

// Kind names the type of a value that Parse returned.
func Kind(v any) string {
	switch v.(type) {
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	case string:
		return "text"
	}
	return "nothing"
}
