package main

// Where a cluster lives: one directory, and namespaces that nothing outside can see. Everything it writes is below the
// directory, so removing the directory removes the cluster.

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The addresses are of the machine's own network namespace, which has no way out: they can't clash with anything.
const (
	machineAddress = "10.99.0.1"
	podNetwork     = "10.244.0.0/16"
	serviceNetwork = "10.96.0.0/16"
	// apiService is the first address of serviceNetwork, which the API server gives to its own service.
	apiService = "10.96.0.1"
	apiPort    = 6443
)

const (
	markerName = "strata-kube.json"
	// maxSocketPath is sizeof(sockaddr_un.sun_path) less the final NUL (unix(7)).
	maxSocketPath = 107
)

// Node is one node of the cluster.
type Node struct {
	Name    string
	Address string // of the kubelet and the node's pods with hostNetwork
	Pods    string // network of its other pods
	Bridge  string // that those pods are connected to
}

var nodes = []Node{
	{Name: "node-a", Address: "10.99.0.11", Pods: "10.244.1.0/24", Bridge: "pods-a"},
	{Name: "node-b", Address: "10.99.0.12", Pods: "10.244.2.0/24", Bridge: "pods-b"},
}

func findNode(name string) (Node, error) {
	var names []string
	for _, n := range nodes {
		if n.Name == name {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return Node{}, fmt.Errorf("no node %q; there is %s", name, strings.Join(names, ", "))
}

// errNotOurs is returned for a directory that exists, isn't empty and has no marker file.
var errNotOurs = errors.New("not a directory made by hack/kube")

// Layout names every path of one cluster.
type Layout struct {
	Root string // of the checkout
	Dir  string // of the cluster: absolute, without symbolic links
}

func newLayout(root, dir string) (Layout, error) {
	real, err := realPath(dir)
	if err != nil {
		return Layout{}, fmt.Errorf("directory %q: %w", dir, err)
	}
	l := Layout{Root: root, Dir: real}
	for _, hidden := range []string{"/run", "/var/lib", "/var/log", "/proc", "/sys", "/dev"} {
		if real == hidden || strings.HasPrefix(real, hidden+"/") {
			return Layout{}, fmt.Errorf("directory %q: the nodes have a %s of their own and wouldn't see it; choose another --dir", real, hidden)
		}
	}
	if strings.ContainsAny(real, " \t\n'\"\\:,$") {
		return Layout{}, fmt.Errorf("directory %q: spaces, quotes and the characters \\ : , $ have a meaning in mount options and configurations; choose another --dir", real)
	}
	// The longest socket is one of the Ceph inside.
	if longest := filepath.Join(l.Ceph(), "run", "client.rgw.asok"); len(longest) > maxSocketPath {
		return Layout{}, fmt.Errorf("directory %q is %d bytes too long for the Unix sockets in it; choose a shorter --dir", real, len(longest)-maxSocketPath)
	}
	return l, nil
}

// realPath makes dir absolute and resolves the symbolic links in what exists of it: the directory is in command lines that
// are compared.
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

// Bin has the programs of Kubernetes. It is the checkout's, not the cluster's: it outlives it.
func (l Layout) Bin() string { return filepath.Join(l.Root, ".strata", "kube", "bin") }

// Ceph is the directory of the Ceph that runs inside, if one does.
func (l Layout) Ceph() string { return l.path("ceph") }

// Kubeconfig is that of a user who may do everything.
func (l Layout) Kubeconfig() string { return l.path("admin.kubeconfig") }

// Log is the output of a daemon.
func (l Layout) Log(name string) string { return l.path("log", name+".log") }

func (l Layout) pki(name string) string { return l.path("pki", name) }

func (l Layout) kubeconfig(name string) string { return l.path("pki", name+".kubeconfig") }

func (l Layout) tmp() string { return l.path("tmp") }

// node is a path below what belongs to one node alone.
func (l Layout) node(n Node, elem ...string) string {
	return l.path(append([]string{n.Name}, elem...)...)
}

// lock is beside the directory, so that it outlives the directory's removal.
func (l Layout) lock() string { return l.Dir + ".lock" }

// cgroup is the cluster's group in every hierarchy; the nodes' are below it. It is named after the directory, so that
// clusters side by side, and what a killed one left, can be told apart.
func (l Layout) cgroup() string {
	sum := sha256.Sum256([]byte(l.Dir))
	return "/strata-kube-" + hex.EncodeToString(sum[:4])
}

func (l Layout) apiURL() string { return fmt.Sprintf("https://%s:%d", machineAddress, apiPort) }

// marker is the content of the marker file, which is written before anything else in the directory.
type marker struct {
	Ceph bool `json:"ceph"`
}

func (l Layout) marker() string { return l.path(markerName) }

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
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
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
