package cephkernel

// The cephx key on its way into the kernel.
//
// libceph registers the key type "ceph" and looks the key up by its description
// in the keyrings of the thread that sets the option key=DESCRIPTION; it clones
// the secret there and then (net/ceph/ceph_common.c, get_secret), so reconnects
// and ticket renewals never come back to the keyring.
//
// The keyring is the thread's own, not the process's: process keyrings belong to
// a thread's credentials too and are shared only with threads started after the
// keyring was made, which a Go program can't arrange; and a thread keyring is gone
// with its thread, whatever happens between here and there.

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"
)

// keyType is the key type libceph registers.
const keyType = "ceph"

// secret is a decoded cephx key in the form the kernel takes.
type secret []byte

// decodeSecret decodes key, the base64 text a keyring file holds. The layout is
// the CryptoKey of Ceph's auth/Crypto.h: type (16 bits), creation time (64 bits),
// length (16 bits), key; all little-endian. Errors never repeat the key.
func decodeSecret(key []byte) (secret, error) {
	const header = 2 + 8 + 2
	s := make(secret, base64.StdEncoding.DecodedLen(len(key)))
	n, err := base64.StdEncoding.Decode(s, key)
	if err != nil {
		s.wipe()
		return nil, fmt.Errorf("%w: the key is not base64", ErrInvalid)
	}
	s = s[:n]
	if n <= header || int(binary.LittleEndian.Uint16(s[10:])) != n-header {
		s.wipe()
		return nil, fmt.Errorf("%w: the key is not a cephx key (want the value of `ceph auth get-key client.NAME`)", ErrInvalid)
	}
	return s, nil
}

// wipe overwrites the secret.
func (s secret) wipe() { clear(s) }

// offer puts the secret into the keyring of the calling thread under a
// description of its own, so that two volumes whose identities have the same
// name and different keys never meet, and returns the description and what
// removes it. The caller has locked its goroutine to the thread.
func (s secret) offer(user string) (description string, withdraw func() error, err error) {
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return "", nil, fmt.Errorf("name a key: %w", err)
	}
	description = "strata:" + hex.EncodeToString(nonce[:]) + ":client." + user
	id, err := unix.AddKey(keyType, description, s, unix.KEY_SPEC_THREAD_KEYRING)
	if err != nil {
		return "", nil, fmt.Errorf("add the cephx key to the keyring: %w", err)
	}
	return description, func() error {
		// The only link to the key: unlinking destroys it.
		if _, err := unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_THREAD_KEYRING, 0, 0); err != nil {
			return fmt.Errorf("remove the cephx key from the keyring: %w", err)
		}
		return nil
	}, nil
}
