package main

// Where a cluster lives: one directory, one range of ports. Everything the cluster
// writes is under the directory, so removing the directory removes the cluster.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// portSpan is how many ports a cluster owns from its port base. Monitor and gateway take the
	// first hundred, everything that picks a port itself the second: an OSD binds eight (public,
	// cluster and two heartbeat messengers, each speaking both protocol versions), an MDS and the mgr two
	// each: 70 of 100, which leaves room for the fresh ports an OSD takes when it rebinds.
	portSpan = 200

	osdCount = 8

	// maxSocketPath is sizeof(sockaddr_un.sun_path) less the final NUL (unix(7)).
	maxSocketPath = 107

	markerName = "strata-ceph.json"
)

// errNotOurs is returned for a directory that exists, isn't empty and has no marker file.
var errNotOurs = errors.New("not a directory made by hack/ceph")

// Layout names every path and port of one cluster.
type Layout struct {
	Dir      string // absolute, without symbolic links
	PortBase int
}

// marker is the content of the marker file. It is written before anything else in the directory.
type marker struct {
	PortBase int    `json:"portBase"`
	FSID     string `json:"fsid"`
}

func newLayout(dir string, portBase int) (Layout, error) {
	abs, err := realPath(dir)
	if err != nil {
		return Layout{}, fmt.Errorf("directory %q: %w", dir, err)
	}
	l := Layout{Dir: abs, PortBase: portBase}
	if strings.ContainsAny(abs, " \t\n#;$'\"\\") {
		return Layout{}, fmt.Errorf("directory %q: spaces, quotes and the characters # ; $ \\ have a meaning in ceph.conf; choose another --dir", abs)
	}
	if longest := l.Socket(Daemon{"client", "rgw"}); len(longest) > maxSocketPath {
		return Layout{}, fmt.Errorf("directory %q is %d bytes too long: the path of a Unix socket in it (%s) may have %d bytes; choose a shorter --dir",
			abs, len(longest)-maxSocketPath, longest, maxSocketPath)
	}
	if portBase < 1024 || portBase+portSpan > 65536 {
		return Layout{}, fmt.Errorf("port base %d: must be from 1024 to %d (the cluster uses %d ports from there)", portBase, 65536-portSpan, portSpan)
	}
	return l, nil
}

// realPath makes dir absolute and resolves the symbolic links in what exists of it: the same directory always
// has the same name, in the kernel's list of mounts too.
func realPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) && abs != "/" {
		parent, err := realPath(filepath.Dir(abs))
		return filepath.Join(parent, filepath.Base(abs)), err
	}
	return real, err
}

func (l Layout) path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir}, elem...)...)
}

// Conf is the cluster's ceph.conf. Its path in a command line is what identifies a process as ours.
func (l Layout) Conf() string { return l.path("ceph.conf") }

// Keyring is the keyring of a client such as "client.admin".
func (l Layout) Keyring(client string) string { return l.path("ceph." + client + ".keyring") }

// S3Env is a file of shell assignments with the S3 user's keys, mode 0600.
func (l Layout) S3Env() string { return l.path("s3.env") }

// Data is the data directory of a daemon.
func (l Layout) Data(d Daemon) string { return l.path("data", d.String()) }

// DaemonKeyring holds a daemon's own key.
func (l Layout) DaemonKeyring(d Daemon) string { return filepath.Join(l.Data(d), "keyring") }

// Socket is the admin socket of a daemon.
func (l Layout) Socket(d Daemon) string { return l.path("run", d.Entity()+".asok") }

// Output is where a daemon's standard output and error go; its log is beside it.
func (l Layout) Output(d Daemon) string { return l.path("log", d.Entity()+".out") }

func (l Layout) marker() string { return l.path(markerName) }

// ready exists once the cluster has been provisioned completely, once.
func (l Layout) ready() string { return l.path("provisioned") }

// lock is beside the directory, so that it outlives the directory's removal.
func (l Layout) lock() string { return l.Dir + ".lock" }

func (l Layout) monV2() int   { return l.PortBase }
func (l Layout) monV1() int   { return l.PortBase + 1 }
func (l Layout) rgwPort() int { return l.PortBase + 10 }

// S3Endpoint is the URL of the S3 gateway.
func (l Layout) S3Endpoint() string { return fmt.Sprintf("http://127.0.0.1:%d", l.rgwPort()) }

// monAddrs is the monitor's address vector in the form ceph.conf and monmaptool take.
func (l Layout) monAddrs() string {
	return fmt.Sprintf("[v2:127.0.0.1:%d,v1:127.0.0.1:%d]", l.monV2(), l.monV1())
}

// readMarker returns fs.ErrNotExist when there is no cluster, errNotOurs when the directory is somebody else's.
func (l Layout) readMarker() (marker, error) {
	var m marker
	b, err := os.ReadFile(l.marker())
	if errors.Is(err, fs.ErrNotExist) {
		entries, derr := os.ReadDir(l.Dir)
		switch {
		case errors.Is(derr, fs.ErrNotExist):
			return m, err
		case derr != nil:
			return m, derr
		case len(entries) == 0:
			return m, err
		}
		return m, fmt.Errorf("%s: %w (no %s in it): refusing to touch it", l.Dir, errNotOurs, markerName)
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%s: %w", l.marker(), err)
	}
	return m, nil
}

func (l Layout) writeMarker(m marker) error {
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return writeFile(l.marker(), b, 0o644)
}

// writeFile replaces a file in one step, so that a crash leaves the old one or the new one.
func writeFile(path string, data []byte, mode os.FileMode) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
