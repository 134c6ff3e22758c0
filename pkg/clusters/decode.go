package clusters

// The file's text to its fields. Written by hand over the generic JSON form, because encoding/json takes keys in any
// case, ignores an unknown key's neighbours in its error, and would turn `mode: 0755` into the text "493".

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/strata-csi/strata/pkg/suggest"
)

// mistakes gathers everything that is wrong with a file, so that its writer sees it all at once.
type mistakes []string

func (m *mistakes) add(field, format string, args ...any) {
	*m = append(*m, field+": "+fmt.Sprintf(format, args...))
}

func (m mistakes) err(file string) error {
	switch len(m) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s: %s", file, m[0])
	}
	return fmt.Errorf("%s has %d mistakes:\n  %s", file, len(m), strings.Join(m, "\n  "))
}

var (
	fileKeys       = []string{"clusters"}
	clusterKeys    = []string{"clusterID", "monitors", "namePrefix", "controller", "defaults", "lockPool"}
	controllerKeys = []string{"user", "keyFile", "keyringFile"}
)

// decode reads the text into clusters. Only its shape is checked here: keys, types and that each is given once.
func decode(text []byte, m *mistakes) []Cluster {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		m.add("not valid YAML", "%v", err)
		return nil
	}
	var root any
	d := json.NewDecoder(bytes.NewReader(asJSON))
	d.UseNumber()
	if err := d.Decode(&root); err != nil {
		m.add("not valid YAML", "%v", err)
		return nil
	}
	entries := m.list("clusters", m.object("the file", root, fileKeys)["clusters"])
	list := make([]Cluster, 0, len(entries))
	for i, e := range entries {
		list = append(list, m.cluster(fmt.Sprintf("clusters[%d]", i), e))
	}
	return list
}

func (m *mistakes) cluster(field string, v any) Cluster {
	o := m.object(field, v, clusterKeys)
	c := Cluster{
		ID:         m.text(field+".clusterID", o["clusterID"]),
		NamePrefix: m.text(field+".namePrefix", o["namePrefix"]),
		LockPool:   m.text(field+".lockPool", o["lockPool"]),
		Defaults:   map[string]string{},
	}
	for i, e := range m.list(field+".monitors", o["monitors"]) {
		c.Monitors = append(c.Monitors, m.text(fmt.Sprintf("%s.monitors[%d]", field, i), e))
	}
	defaults := m.object(field+".defaults", o["defaults"], nil)
	for _, key := range slices.Sorted(maps.Keys(defaults)) {
		c.Defaults[key] = m.text(field+".defaults."+key, defaults[key])
	}
	if v, given := o["controller"]; given {
		field += ".controller"
		o := m.object(field, v, controllerKeys)
		c.Credential = &Credential{
			User:        m.text(field+".user", o["user"]),
			KeyFile:     m.text(field+".keyFile", o["keyFile"]),
			KeyringFile: m.text(field+".keyringFile", o["keyringFile"]),
		}
	}
	return c
}

// object returns the value's fields; without valid, any key is allowed. A missing value has none.
func (m *mistakes) object(field string, v any, valid []string) map[string]any {
	if v == nil {
		return nil
	}
	o, ok := v.(map[string]any)
	if !ok {
		m.add(field, "must be a map of names to values, not %s", kind(v))
		return nil
	}
	if valid == nil {
		return o
	}
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(valid, key) {
			m.add(field, "unknown key %q%s (known: %s)", key, suggest.Hint(key, valid), strings.Join(valid, ", "))
		}
	}
	return o
}

func (m *mistakes) list(field string, v any) []any {
	if v == nil {
		return nil
	}
	l, ok := v.([]any)
	if !ok {
		m.add(field, "must be a list, not %s", kind(v))
	}
	return l
}

// text takes nothing but text: YAML reads 0755 as the number 493 and yes as true, and only the writer knows what was meant.
func (m *mistakes) text(field string, v any) string {
	if v == nil {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		m.add(field, "must be text, not %s; put it in quotes", kind(v))
	}
	return s
}

func kind(v any) string {
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
