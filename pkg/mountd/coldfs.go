package mountd

// strata-coldfs: the engine of one volume of tier cold. Other than ceph-fuse it doesn't mount by itself: the holder does, and keeps a descriptor of the
// connection, because an engine has no privilege, and so that a later one can go on where it ended.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/control"
)

// ColdFSOptions say how engines of tier cold are started.
type ColdFSOptions struct {
	// Binary is the path or name of strata-coldfs; empty: the kind is not served.
	Binary string
	// UID is the user, and the group, that engines run as; never 0.
	UID uint32
	// CacheDir is the directory of the node that all engines share. The holder makes it and gives it to UID.
	CacheDir string
	// CacheSize is the most that they keep there together, CacheReserve what they leave free of its disk, in bytes.
	CacheSize, CacheReserve int64
	// Memory is what one engine should have resident, in bytes: the limit of its garbage collector. Its control group, where one can be made, has MemoryRoom more.
	Memory int64
}

// validate says which option is wrong.
func (o ColdFSOptions) validate() error {
	switch {
	case o.Binary == "":
		return nil
	case o.UID == 0:
		return errors.New("--coldfs-uid: 0 is root, which an engine must not be")
	case !filepath.IsAbs(o.CacheDir):
		return fmt.Errorf("--coldfs-cache-dir: %q is not an absolute path", o.CacheDir)
	case o.CacheSize < MinCacheSize:
		return fmt.Errorf("--coldfs-cache-size: %d bytes; at least %d are needed", o.CacheSize, int64(MinCacheSize))
	case o.CacheReserve < 0:
		return errors.New("--coldfs-cache-reserve: is negative")
	case o.Memory < MinMemory:
		return fmt.Errorf("--coldfs-memory: %d bytes; at least %d are needed", o.Memory, int64(MinMemory))
	}
	return nil
}

// The least that an engine makes sense with, in bytes: some blocks of the cache, and the buffers of a few files.
const (
	MinCacheSize = 256 << 20
	MinMemory    = 64 << 20
)

// coldFS is the kind.
type coldFS struct {
	ColdFSOptions
	logDir  string
	metrics engineMetrics
}

// Gather makes coldFS a prometheus.Gatherer of what its engines count.
func (c *coldFS) Gather() ([]*dto.MetricFamily, error) { return c.metrics.Gather() }

// fsType is what the mount table shows, as it does for any FUSE file system with a subtype.
const fsType = "fuse." + KindColdFS

// descriptor is where an engine finds its credentials.
func (*coldFS) descriptor() int { return control.FDCredentials }

// owned are the settings of an engine that are the node's, not the volume's.
func (c *coldFS) owned() map[string]any {
	return map[string]any{"cacheDir": c.CacheDir, "cacheLimit": c.CacheSize, "cacheReserve": c.CacheReserve, "memoryLimit": c.Memory, "passthrough": minPassthrough}
}

// minPassthrough is the least, in bytes, that is worth a backing file: what is smaller is read with one request, which takes less than asking the holder.
const minPassthrough = 1 << 20

func (c *coldFS) check(s Spec) string {
	if len(s.Monitors) > 0 || s.User != "" || s.FS != "" || s.Path != "" {
		return "monitors, user, fs and path are for " + KindCephFuse + " alone"
	}
	for _, o := range s.Options {
		if _, ok := flags()[o]; !ok {
			return fmt.Sprintf("option %q is not one of %s", o, strings.Join(slices.Sorted(maps.Keys(flags())), ", "))
		}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(s.Engine, &fields); err != nil || len(fields) == 0 {
		return "engine is not the configuration of strata-coldfs"
	}
	for name := range c.owned() {
		if _, ok := fields[name]; ok {
			return fmt.Sprintf("engine: %s is a matter of the node, which strata-mountd has flags for", name)
		}
	}
	return ""
}

// mountGroup is the group that the volume is mounted for; 0: none.
func mountGroup(s Spec) uint32 {
	var c struct {
		MountGroup uint32 `json:"mountGroup"`
	}
	_ = json.Unmarshal(s.Engine, &c) // what is wrong with it the engine says
	return c.MountGroup
}

// configuration is what the engine reads: that of the volume with the node's settings. It isn't taken apart any further: an engine that doesn't know a setting
// says so itself.
func (c *coldFS) configuration(s Spec) ([]byte, error) {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(s.Engine))
	d.UseNumber() // a size must not become a float
	if err := d.Decode(&fields); err != nil {
		return nil, fmt.Errorf("%w: engine: %v", ErrInvalid, err)
	}
	maps.Copy(fields, c.owned())
	if s.ReadOnly {
		fields["readOnly"] = true
	}
	return json.Marshal(fields)
}

func (*coldFS) secret(raw []byte) ([]byte, error) {
	var c control.Credentials
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil || c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return nil, fmt.Errorf("%w: what came as the secret isn't an access key with its secret", ErrInvalid) // the error may quote it
	}
	return json.Marshal(c)
}

// The environment by which an engine is known that no record knows of. It says where and what for, nothing else.
const (
	envMountpoint = "STRATA_MOUNTPOINT="
	envSpec       = "STRATA_SPEC="
)

// digest names a spec.
func digest(s Spec) string {
	raw, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

func (c *coldFS) find(s Spec) (pid int, same bool) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return 0, false
	}
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("/proc", p.Name(), "environ"))
		if err != nil {
			continue
		}
		words := strings.Split(string(raw), "\x00")
		if slices.Contains(words, envMountpoint+s.Mountpoint) && startTime(pid) != "" {
			return pid, slices.Contains(words, envSpec+digest(s))
		}
	}
	return 0, false
}

// makeCacheDir makes the directory and gives it to the engines. What is above it is checked and not changed: others may have reasons for its modes.
func (c *coldFS) makeCacheDir() error {
	parent := filepath.Dir(c.CacheDir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("cache directory: %w", err)
	}
	if err := os.Mkdir(c.CacheDir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cache directory: %w", err)
	}
	for dir := parent; ; dir = filepath.Dir(dir) {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return fmt.Errorf("cache directory: stat %s: %w", dir, err)
		}
		if st.Mode&0o001 == 0 && !(st.Uid == c.UID && st.Mode&0o100 != 0) {
			return fmt.Errorf("%w: the engines, user %d, can't pass %s on the way to --coldfs-cache-dir %s: chmod o+x it, or choose another", ErrFailed, c.UID, dir, c.CacheDir)
		}
		if dir == "/" {
			break
		}
	}
	return os.Chown(c.CacheDir, int(c.UID), int(c.UID))
}

// start mounts, and starts an engine that answers. The mount is there before the engine: whoever looks at it meanwhile waits, and is let go of when the
// engine has failed and the descriptor is closed.
func (c *coldFS) start(_ context.Context, s Spec, secret, log *os.File) (_ client, err error) {
	if err := c.makeCacheDir(); err != nil {
		return nil, err
	}
	raw, err := c.configuration(s)
	if err != nil {
		return nil, err
	}
	config, err := memfd("strata-config", raw)
	if err != nil {
		return nil, err
	}
	defer config.Close()
	e := &engine{kind: c, spec: s, ready: make(chan struct{}), silent: make(chan struct{})}
	if e.hidden, err = secretWords(secret); err != nil {
		return nil, err
	}
	theirs, err := e.connect()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	if err = e.mount(); err == nil {
		err = e.run(config, secret, theirs, log)
	}
	if err != nil {
		e.release()
		return nil, err
	}
	go e.listen()
	return e, nil
}

// secretWords are what no text of an engine may show.
func secretWords(secret *os.File) ([]string, error) {
	raw := make([]byte, maxSecret)
	defer clear(raw)
	n, err := secret.ReadAt(raw, 0)
	if n == 0 {
		return nil, fmt.Errorf("read the credentials: %w", err)
	}
	var c control.Credentials
	if err := json.Unmarshal(raw[:n], &c); err != nil {
		return nil, errors.New("read the credentials: they aren't what was written")
	}
	words := []string{c.SecretAccessKey}
	if c.SessionToken != "" {
		words = append(words, c.SessionToken)
	}
	return words, nil
}
