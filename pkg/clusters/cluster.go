// Package clusters is the driver's cluster configuration file: which Ceph clusters there are, how they are
// reached, and what a StorageClass that says nothing else gets. The file is checked as a whole when the program starts and
// again whenever it changes; a new file with a mistake in it never replaces one without.
//
//	clusters:
//	- clusterID: main                # stands in every volume id
//	  monitors: ["10.0.0.1:3300"]    # addresses of the messenger v2
//	  namePrefix: dev                # tells this Kubernetes cluster's groups from those of another on the same file system
//	  controller:                    # only in the controller's file
//	    user: strata-controller
//	    keyFile: /etc/strata/key     # the bare key; or keyringFile, a Ceph keyring
//	  fencing: {user: strata-fencing, keyringFile: /etc/strata/fencing} # optional, likewise: who may see clients and shut them out
//	  defaults: {fsName: warm, pool: warm-ec}
//	  lockPool: warm-data           # default: the first data pool of the file system
package clusters

import (
	"maps"
	"slices"
)

// Cluster is one Ceph cluster as the file describes it. It holds no secret.
type Cluster struct {
	ID       string   // [A-Za-z0-9._-], at most 36 bytes
	Monitors []string // host:port of the messenger v2, at least one
	// NamePrefix begins the names of this Kubernetes cluster's subvolume groups; at most 16 bytes. Empty only in a node's file.
	NamePrefix string
	Credential *Credential       // nil in a node's file
	Fencing    *Credential       // of who may see the clients of the file systems and shut them out; nil: nobody may
	Defaults   map[string]string // StorageClass parameters of the warm tier, for classes that don't give them
	LockPool   string            // replicated pool that holds the locks between controllers; empty: the first data pool of the file system
}

func (c Cluster) clone() Cluster {
	c.Monitors = slices.Clone(c.Monitors)
	c.Defaults = maps.Clone(c.Defaults)
	if c.Credential != nil {
		cred := *c.Credential
		c.Credential = &cred
	}
	if c.Fencing != nil {
		cred := *c.Fencing
		c.Fencing = &cred
	}
	return c
}

func (c Cluster) equal(o Cluster) bool {
	return c.ID == o.ID && c.NamePrefix == o.NamePrefix && c.LockPool == o.LockPool && same(c.Credential, o.Credential) && same(c.Fencing, o.Fencing) &&
		slices.Equal(c.Monitors, o.Monitors) && maps.Equal(c.Defaults, o.Defaults)
}

func same(a, b *Credential) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}
