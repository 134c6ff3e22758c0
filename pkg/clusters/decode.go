package clusters

// The file's text to its fields.

import (
	"fmt"
	"maps"
	"slices"

	"github.com/strata-csi/strata/pkg/yamlfile"
)

// mistakes gathers everything that is wrong with a file, so that its writer sees it all at once.
type mistakes struct{ yamlfile.Mistakes }

var (
	fileKeys       = []string{"clusters"}
	clusterKeys    = []string{"clusterID", "monitors", "namePrefix", "controller", "fencing", "defaults", "lockPool"}
	credentialKeys = []string{"user", "keyFile", "keyringFile"}
)

// decode reads the text into clusters. Only its shape is checked here: keys, types and that each is given once.
func decode(text []byte, m *mistakes) []Cluster {
	entries := m.List("clusters", m.Object("the file", m.Parse(text), fileKeys)["clusters"])
	list := make([]Cluster, 0, len(entries))
	for i, e := range entries {
		list = append(list, m.cluster(fmt.Sprintf("clusters[%d]", i), e))
	}
	return list
}

func (m *mistakes) cluster(field string, v any) Cluster {
	o := m.Object(field, v, clusterKeys)
	c := Cluster{
		ID:         m.Text(field+".clusterID", o["clusterID"]),
		Monitors:   m.Texts(field+".monitors", o["monitors"]),
		NamePrefix: m.Text(field+".namePrefix", o["namePrefix"]),
		LockPool:   m.Text(field+".lockPool", o["lockPool"]),
		Defaults:   map[string]string{},
	}
	defaults := m.Object(field+".defaults", o["defaults"], nil)
	for _, key := range slices.Sorted(maps.Keys(defaults)) {
		c.Defaults[key] = m.Text(field+".defaults."+key, defaults[key])
	}
	if v, given := o["controller"]; given {
		c.Credential = m.credential(field+".controller", v)
	}
	if v, given := o["fencing"]; given {
		c.Fencing = m.credential(field+".fencing", v)
	}
	return c
}

func (m *mistakes) credential(field string, v any) *Credential {
	o := m.Object(field, v, credentialKeys)
	return &Credential{
		User:        m.Text(field+".user", o["user"]),
		KeyFile:     m.Text(field+".keyFile", o["keyFile"]),
		KeyringFile: m.Text(field+".keyringFile", o["keyringFile"]),
	}
}
