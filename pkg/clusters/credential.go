package clusters

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Credential says as whom the controller speaks to a cluster and where its key lies. The key itself is read at
// each use and never kept, so that it is in no dump of a configuration, and a new key needs no restart.
type Credential struct {
	User        string // without "client."
	KeyFile     string // absolute path of a file with the bare base64 key; or
	KeyringFile string // absolute path of a Ceph keyring with a section [client.USER]
}

// Key reads the key. No error quotes what the file holds.
func (c Credential) Key() (string, error) {
	path := c.KeyFile
	if path == "" {
		path = c.KeyringFile
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the key of client.%s: %w", c.User, err)
	}
	key := string(bytes.TrimSpace(b))
	if c.KeyFile == "" {
		if key, err = keyOf(b, "client."+c.User); err != nil {
			return "", fmt.Errorf("keyring %s: %w", path, err)
		}
	}
	if err := checkKey(key); err != nil {
		return "", fmt.Errorf("%s: the key of client.%s %w", path, c.User, err)
	}
	return key, nil
}

// keyOf finds the entity's key in a keyring: sections [TYPE.ID] with lines NAME = VALUE, comments after '#' or ';'
// (Ceph documentation, "User Management", "Keyring Management").
func keyOf(keyring []byte, entity string) (string, error) {
	section, found := "", false
	for lines := bufio.NewScanner(bytes.NewReader(keyring)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = strings.Trim(line, "[] ")
			found = found || section == entity
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if ok && section == entity && strings.TrimSpace(name) == "key" {
			return strings.Trim(strings.TrimSpace(value), `"`), nil
		}
	}
	if found {
		return "", fmt.Errorf("section [%s] has no key", entity)
	}
	return "", fmt.Errorf("no section [%s]", entity)
}

var errNotAKey = errors.New("is not one that Ceph makes (base64, 40 characters or more; `ceph auth print-key` prints it)")

// checkKey says whether the text is a cephx key: the base64 of a 2-byte type, an 8-byte time, a 2-byte length,
// little-endian, and that many bytes (Ceph, src/auth/Crypto.cc, CryptoKey::encode).
func checkKey(key string) error {
	const header = 12
	b, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(b) <= header || int(binary.LittleEndian.Uint16(b[header-2:])) != len(b)-header {
		return errNotAKey
	}
	return nil
}
