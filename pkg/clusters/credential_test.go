package clusters

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyOfAKeyring(t *testing.T) {
	other := strings.Replace(aKey, "AQ", "AA", 1)
	for _, c := range []struct{ name, keyring, err string }{
		{name: "as ceph auth get writes it", keyring: "[client.c]\n\tkey = " + aKey + "\n\tcaps mgr = \"allow rw\"\n"},
		{name: "second section", keyring: "[client.admin]\nkey = " + other + "\n[client.c]\nkey=" + aKey},
		{name: "quoted", keyring: "[client.c]\nkey = \"" + aKey + "\""},
		{name: "only another's", keyring: "[client.cc]\nkey = " + aKey, err: "no section [client.c]"},
		{name: "section without a key", keyring: "[client.c]\ncaps mon = \"allow r\"", err: "has no key"},
		{name: "key cut short", keyring: "[client.c]\nkey = " + aKey[:32], err: "is not one that Ceph makes"},
		{name: "key that isn't base64", keyring: "[client.c]\nkey = hunter2!", err: "is not one that Ceph makes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyring")
			write(t, path, c.keyring)
			key, err := Credential{User: "c", KeyringFile: path}.Key()
			if c.err == "" {
				if err != nil || key != aKey {
					t.Errorf("right key: %v, error: %v", key == aKey, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got %v, want %q", err, c.err)
			}
			for _, secret := range []string{"hunter2", aKey[:12]} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error quotes the secret: %v", err)
				}
			}
		})
	}
}
