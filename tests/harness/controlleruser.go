package harness

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph"
)

// users are those that this process has made, by the path of the keyring.
var users struct {
	sync.Mutex
	made map[string]bool
}

// ControllerUser makes a Ceph user with the capabilities of docs/security.md for one prefix, once, and returns its name. It stays until the
// cluster goes: several controllers have one prefix, and end in any order.
func (c *Ceph) ControllerUser(t testing.TB, prefix Prefix) string {
	t.Helper()
	return c.user(t, "strata-controller-"+string(prefix), ceph.ControllerCapabilities(string(prefix), FS, DataPool))
}

func (c *Ceph) user(t testing.TB, user string, capabilities []string) string {
	t.Helper()
	users.Lock()
	defer users.Unlock()
	path := c.Keyring(user)
	if users.made[path] {
		return user
	}
	args := append([]string{"auth", "get-or-create", "client." + user}, capabilities...)
	out, err := c.Try(args...)
	if err != nil {
		t.Fatalf("make client.%s: %v", user, err)
	}
	if !strings.Contains(out, "key = ") {
		t.Fatalf("ceph auth get-or-create client.%s: no keyring", user)
	}
	if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if users.made == nil {
		users.made = map[string]bool{}
	}
	users.made[path] = true
	return user
}
