package inspect

// What `strata-controller rotate` and `strata-controller fence` did. No key is in it.

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
	Address string `json:"address"` // ip:port/nonce, as the metadata server knows it
	Host    string `json:"host"`    // its machine, as it says
	User    string `json:"user"`    // as it says
	Path    string `json:"path"`    // what it has mounted, as it says
}
