package librados

// What a connection needs to know. No configuration file, keyring or environment variable of Ceph is asked for.

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// Options say which cluster to connect to and as whom.
type Options struct {
	// Monitors are the monitors' addresses, "host:port" or "[v2:host:port,v1:host:port]"; at least one.
	Monitors []string
	// User is the cephx name without "client.".
	User string
	// Key is the user's cephx key. KeyFile, when Key is empty, is a file that holds just the key; it is read again
	// at every connection, so that a key can be changed under a running process.
	Key     string
	KeyFile string
	// Instance, when not empty, is the same in every life of this client and in no other client of the cluster that runs at the same
	// time. A client that was killed is then forgotten by the metadata servers when it comes back, and not only after
	// their timeout (session_timeout, a minute), for which it would hold up others.
	Instance string
	// Timeouts bound what the caller's context doesn't; zero fields get the defaults.
	Timeouts Timeouts
}

// Timeouts are the bounds of calls to Ceph.
type Timeouts struct {
	// Call ends a call whose context has no deadline; 30 s by default.
	Call time.Duration
	// Mount ends connecting and mounting inside the libraries (client_mount_timeout, whole seconds); 20 s by default.
	Mount time.Duration
	// Mon and OSD end an operation inside librados (rados_mon_op_timeout, rados_osd_op_timeout, whole seconds) whose
	// caller has left; 60 s by default. An operation that is given up so may still take effect.
	Mon time.Duration
	OSD time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	for _, f := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&t.Call, 30 * time.Second}, {&t.Mount, 20 * time.Second}, {&t.Mon, time.Minute}, {&t.OSD, time.Minute},
	} {
		if *f.value == 0 {
			*f.value = f.standard
		}
	}
	return t
}

// Validate says what is missing or wrong. It doesn't read KeyFile.
func (o Options) Validate() error {
	var errs []error
	if len(o.Monitors) == 0 {
		errs = append(errs, errors.New("no monitor address"))
	}
	for _, m := range o.Monitors {
		if strings.TrimSpace(m) == "" {
			errs = append(errs, errors.New("a monitor address is empty"))
		}
	}
	if o.User == "" || strings.HasPrefix(o.User, "client.") {
		errs = append(errs, fmt.Errorf("user %q must be a cephx name without \"client.\"", o.User))
	}
	if o.Key == "" && o.KeyFile == "" {
		errs = append(errs, errors.New("neither a key nor a key file"))
	}
	t := o.Timeouts.withDefaults()
	for _, d := range []time.Duration{t.Call, t.Mount, t.Mon, t.OSD} {
		if d < time.Second {
			errs = append(errs, fmt.Errorf("timeout %s is below one second", d))
		}
	}
	return errors.Join(errs...)
}

// key returns the key itself.
func (o Options) key() (string, error) {
	key, from := o.Key, "the options"
	if key == "" {
		b, err := os.ReadFile(o.KeyFile)
		if err != nil {
			return "", fmt.Errorf("key of client.%s: %w", o.User, err)
		}
		key, from = strings.TrimSpace(string(b)), o.KeyFile
	}
	if !validKey(key) {
		return "", fmt.Errorf("key of client.%s: what %s holds isn't a cephx key, alone and whole", o.User, from)
	}
	return key, nil
}

// validKey says whether k is a cephx key: base64 of its type (2 bytes), time of creation (8), length (2) and the secret of that
// length (CryptoKey::encode in Ceph's auth/Crypto.cc). Others must not reach librados, which prints a key it can't
// decode to the standard error.
func validKey(k string) bool {
	const head = 12
	raw, err := base64.StdEncoding.DecodeString(k)
	return err == nil && len(raw) > head && len(raw) == head+int(binary.LittleEndian.Uint16(raw[head-2:]))
}
