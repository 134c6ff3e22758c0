package inspect

// What `strata-controller rotate`, `fence` and `fence-node` did. No key is in it.

// KeyList says of each volume what was done, in the order in which they were named.
type KeyList struct {
	Header
	Volumes []Keys `json:"volumes"`
}

// NewKeyList is an empty one.
func NewKeyList() KeyList { return KeyList{Header: header(KindKeys), Volumes: []Keys{}} }

// Keys are the identities of a volume: Ceph users, "client.NAME".
type Keys struct {
	Volume  string   `json:"volume"`            // id
	User    string   `json:"user,omitempty"`    // whose key the volume's Secret has; none when it is fenced
	Former  []string `json:"former"`            // those before it that clients may be using; oldest first
	Retired []string `json:"retired"`           // those that were removed now
	Fenced  bool     `json:"fenced,omitempty"`  // the volume has no key, and no Secret
	ShutOut []Client `json:"shutOut,omitempty"` // those that had it mounted and were put on the blocklist now
	Error   string   `json:"error,omitempty"`   // why that isn't all; what is said besides was done
}

// Client is a client of a file system.
type Client struct {
	FileSystem string `json:"fileSystem,omitempty"` // given for a node's clients
	Address    string `json:"address"`              // ip:port/nonce, as the metadata server knows it
	Host       string `json:"host"`                 // its machine, as it says
	User       string `json:"user"`                 // as it says
	Path       string `json:"path"`                 // what it has mounted, as it says
}

// NodeFence says what was done with a node, in each cluster of the configuration.
type NodeFence struct {
	Header
	Node     string         `json:"node"`
	Undone   bool           `json:"undone"` // its addresses are let in again
	Clusters []ClusterFence `json:"clusters"`
}

// NewNodeFence is one without clusters.
func NewNodeFence(node string, undone bool) NodeFence {
	return NodeFence{Header: header(KindNodeFence), Node: node, Undone: undone, Clusters: []ClusterFence{}}
}

// ClusterFence is what was done with a node in one cluster.
type ClusterFence struct {
	Cluster   string   `json:"cluster"`
	Addresses []string `json:"addresses"` // that are on the blocklist as a whole; undone: that aren't any more
	ShutOut   []Client `json:"shutOut"`   // the node's clients, which stay there one by one
	Error     string   `json:"error,omitempty"`
}
