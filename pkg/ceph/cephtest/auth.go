package cephtest

// Users of cephx, as the monitors keep them. Nothing is refused for want of a capability: that is for a real cluster to show.

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"syscall"
)

type user struct {
	key  string
	caps map[string]string
}

// Users are the entities, "client.NAME", with their capabilities by daemon.
func (c *Cluster) Users() map[string]map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]map[string]string{}
	for entity, u := range c.users {
		all[entity] = maps.Clone(u.caps)
	}
	return all
}

// Key is the key of an entity; "" when there is none.
func (c *Cluster) Key(entity string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.users[entity].key
}

// getOrCreate is `auth get-or-create`. Capabilities are a list of daemon, capability, daemon, ...
func (c *Cluster) getOrCreate(args map[string]any) (any, error) {
	entity, _ := args["entity"].(string)
	list, _ := args["caps"].([]any)
	caps := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		daemon, _ := list[i].(string)
		caps[daemon], _ = list[i+1].(string)
	}
	u, there := c.users[entity]
	if there && !maps.Equal(u.caps, caps) {
		return nil, fail(syscall.EINVAL, "key for %s exists but cap does not match", entity)
	}
	if !there {
		secret := make([]byte, 28)
		_, _ = rand.Read(secret) // never fails
		u = user{key: base64.StdEncoding.EncodeToString(secret), caps: caps}
		c.users[entity] = u
	}
	return []any{map[string]any{"entity": entity, "key": u.key}}, nil
}
