package clusters

// What a configuration must be like: every rule with the words that say what is allowed.

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/yamlfile"
)

const (
	maxID     = 36 // a Ceph fsid fits; the id stands in every volume id, which has 128 bytes in all
	maxPrefix = 16 // stands in the name of every group, and so in every volume id

	// v1Port is where monitors speak the old protocol by default, v2Port the new one (Ceph documentation, "Messenger v2").
	v1Port = 6789
	v2Port = 3300
)

var (
	prefixForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	hostForm   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
)

// Options say which file is read and by whom.
type Options struct {
	Path string // of the file
	// Controller: every cluster must have a credential, whose key must be readable, and a name prefix. Otherwise, for a node,
	// a credential is refused: a node holds none that could do more than its own volumes need.
	Controller bool
	// Validate, when not nil, also checks each cluster; the warm tier knows the keys of Defaults.
	Validate func(Cluster) error
}

// Load reads and checks the file. The error names every field that is wrong, what is allowed, and quotes no secret.
func Load(o Options) ([]Cluster, error) {
	text, err := read(o.Path)
	if err != nil {
		return nil, err
	}
	return parse(o, text)
}

func read(path string) ([]byte, error) { return yamlfile.Read("cluster configuration", path) }

func parse(o Options, text []byte) ([]Cluster, error) {
	var m mistakes
	list := decode(text, &m)
	if len(m.Mistakes) == 0 && len(list) == 0 {
		m.Add("clusters", "at least one is needed")
	}
	if len(m.Mistakes) > 0 {
		// A misspelt key is one mistake; that the right one is missing would be reported as another.
		return nil, m.Err("cluster configuration " + o.Path)
	}
	seen := map[string]int{}
	for i, c := range list {
		before := len(m.Mistakes)
		field := fmt.Sprintf("clusters[%d]", i)
		m.checkID(field+".clusterID", c.ID)
		if first, dup := seen[c.ID]; dup && c.ID != "" {
			m.Add(field+".clusterID", "%q is the id of clusters[%d] already", c.ID, first)
		} else {
			seen[c.ID] = i
		}
		m.checkMonitors(field+".monitors", c.Monitors)
		m.checkPrefix(field+".namePrefix", c.NamePrefix, o.Controller)
		m.checkCredential(field+".controller", c.Credential, o.Controller)
		if c.Fencing != nil {
			m.checkCredential(field+".fencing", c.Fencing, o.Controller)
		}
		if len(m.Mistakes) == before && o.Validate != nil {
			if err := o.Validate(c.clone()); err != nil {
				m.Add(field, "%v", err)
			}
		}
	}
	if err := m.Err("cluster configuration " + o.Path); err != nil {
		return nil, err
	}
	return list, nil
}

func (m *mistakes) checkID(field, id string) {
	switch {
	case id == "":
		m.Add(field, "is missing; it names the cluster in a StorageClass and in every volume id")
	case volume.CheckPart(id) != nil:
		m.Add(field, "%q must be of [A-Za-z0-9._-] and not begin with '-' or be %q or %q", id, ".", "..")
	case len(id) > maxID:
		m.Add(field, "%q has %d bytes and at most %d are allowed", id, len(id), maxID)
	}
}

func (m *mistakes) checkPrefix(field, prefix string, required bool) {
	switch {
	case prefix == "" && required:
		m.Add(field, "is missing; it tells this Kubernetes cluster's groups from those of another on the same file system")
	case prefix == "":
	case !prefixForm.MatchString(prefix):
		m.Add(field, "%q must be lower-case letters, digits and '-' and begin and end with a letter or digit", prefix)
	case len(prefix) > maxPrefix:
		m.Add(field, "%q has %d bytes and at most %d are allowed", prefix, len(prefix), maxPrefix)
	}
}

func (m *mistakes) checkMonitors(field string, monitors []string) {
	if len(monitors) == 0 {
		m.Add(field, "at least one is needed, each host:port; `ceph mon dump` shows them (v2)")
	}
	seen := map[string]int{}
	for i, mon := range monitors {
		field := fmt.Sprintf("%s[%d]", field, i)
		if why := checkMonitor(mon); why != "" {
			m.Add(field, "%q %s; write host:port, such as 10.0.0.1:%d or [fd00::1]:%d", mon, why, v2Port, v2Port)
		}
		if first, dup := seen[mon]; dup {
			m.Add(field, "%q is monitors[%d] already", mon, first)
		} else {
			seen[mon] = i
		}
	}
}

// checkMonitor says what is wrong with an address, or nothing.
func checkMonitor(mon string) string {
	if strings.HasPrefix(mon, "v1:") || strings.HasPrefix(mon, "v2:") || strings.Contains(mon, "/") || strings.Contains(mon, ",") {
		return "has more than an address"
	}
	host, port, err := net.SplitHostPort(mon)
	if err != nil {
		return "has no port, or is not an address"
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostForm.MatchString(host) {
		return "has a host that is neither a name nor an address"
	}
	switch n, err := strconv.ParseUint(port, 10, 16); {
	case err != nil || n == 0:
		return "has a port that is not a number from 1 to 65535"
	case n == v1Port:
		return fmt.Sprintf("is an address of the old protocol (port %d)", v1Port)
	}
	return ""
}

func (m *mistakes) checkCredential(field string, c *Credential, controller bool) {
	if !controller {
		if c != nil {
			m.Add(field, "must not stand in a node's file: a node holds no credential of the whole cluster")
		}
		return
	}
	if c == nil {
		m.Add(field, "is missing; it needs user and keyFile (or keyringFile)")
		return
	}
	before := len(m.Mistakes)
	switch {
	case c.User == "":
		m.Add(field+".user", "is missing; it is the Ceph user without \"client.\"")
	case strings.HasPrefix(c.User, "client."):
		m.Add(field+".user", "%q must stand without \"client.\": %q", c.User, strings.TrimPrefix(c.User, "client."))
	}
	switch {
	case c.KeyFile == "" && c.KeyringFile == "":
		m.Add(field, "one of keyFile and keyringFile is needed")
	case c.KeyFile != "" && c.KeyringFile != "":
		m.Add(field, "only one of keyFile and keyringFile can be given")
	case !filepath.IsAbs(c.KeyFile + c.KeyringFile):
		m.Add(field, "the path %q must be absolute", c.KeyFile+c.KeyringFile)
	}
	if len(m.Mistakes) > before {
		return
	}
	if _, err := c.Key(); err != nil {
		m.Add(field, "%v", err)
	}
}
