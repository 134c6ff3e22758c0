package cephtest

// Sessions of clients at the metadata servers, as their commands show them, and the blocklist of the OSDs.

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

type client struct {
	id               int
	user, host, root string
	addr             string
	nonce            uint32
}

func (c client) address() string { return fmt.Sprintf("%s/%d", c.addr, c.nonce) }

// AddSession is a client that mounts root of a file system as a user (without "client."), from an IP address and a host of that name. It
// returns the client's address. That the user exists isn't asked: one that is removed keeps its sessions.
func (c *Cluster) AddSession(fs, user, ip, host, root string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nextID++
	s := client{id: 4000 + c.nextID, user: user, host: host, root: root, addr: netip.AddrPortFrom(netip.MustParseAddr(ip), 0).String(), nonce: uint32(c.nextID)}
	f := c.filesystem(fs)
	f.clients = append(f.clients, s)
	return s.address()
}

// Sessions are the users that have sessions at a file system, sorted.
func (c *Cluster) Sessions(fs string) (users []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.filesystem(fs).clients {
		users = append(users, s.user)
	}
	slices.Sort(users)
	return users
}

// RemoveSessions ends those of a user, as an unmount does.
func (c *Cluster) RemoveSessions(fs, user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.filesystem(fs)
	f.clients = slices.DeleteFunc(f.clients, func(s client) bool { return s.user == user })
}

// Blocklist are the addresses that are shut out, and until when.
func (c *Cluster) Blocklist() map[string]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.shutOut)
}

// blocklist is `osd blocklist`: the metadata servers end the session of a client on it. An entry with port and nonce 0 is a whole address.
func (c *Cluster) blocklist(args map[string]any) error {
	addr, _ := args["addr"].(string)
	switch args["blocklistop"] {
	case "add":
		seconds, err := args["expire"].(json.Number).Float64()
		if err != nil {
			return fail(syscall.EINVAL, "command not known")
		}
		c.shutOut[addr] = c.now().Add(time.Duration(seconds * float64(time.Second)))
	case "rm":
		delete(c.shutOut, addr)
	default:
		return fail(syscall.EINVAL, "command not known")
	}
	for _, f := range c.fs {
		f.clients = slices.DeleteFunc(f.clients, func(s client) bool { return s.address() == addr || s.addr+"/0" == addr })
	}
	return nil
}

func (f *filesystem) mdsCommand(prefix string, args map[string]any) ([]byte, error) {
	if prefix != "session ls" {
		return nil, fail(syscall.ENOSYS, "unknown command '%s'", prefix)
	}
	list := []any{}
	for _, s := range f.clients {
		if matches(s, args["filters"]) {
			list = append(list, map[string]any{"id": s.id, "state": "open",
				"entity":          map[string]any{"addr": map[string]any{"type": "v1", "addr": s.addr, "nonce": s.nonce}},
				"client_metadata": map[string]any{"entity_id": s.user, "hostname": s.host, "root": s.root}})
		}
	}
	return json.Marshal(list)
}

// matches is SessionFilter::match, for the filters that are used.
func matches(s client, filters any) bool {
	list, _ := filters.([]any)
	for _, f := range list {
		text, _ := f.(string)
		if key, value, _ := strings.Cut(text, "="); key == "auth_name" && value != s.user {
			return false
		}
	}
	return true
}
