package main

// Making a cluster, or what is missing of one.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// startTimeout bounds each thing that is waited for; the machine may be busy with others.
	startTimeout = 3 * time.Minute
	// cephTool is built into the cluster's directory, for the Ceph inside.
	cephTool = "hack-ceph"
)

// up starts what isn't running and waits until the nodes are ready.
func up(ctx context.Context, l Layout, withCeph bool, say *Progress) error {
	if os.Geteuid() != 0 {
		return errors.New("only root can make namespaces and control groups: run it as root")
	}
	if err := tool(ctx, l.Root, say, "go", "run", "./hack/ceph", "install"); err != nil {
		return err
	}
	if err := build(ctx, l, say); err != nil {
		return err
	}
	release, err := lock(ctx, l.lock(), "up or down of "+l.Dir, say)
	if err != nil {
		return err
	}
	defer release()
	m, err := l.readMarker()
	if errors.Is(err, errNotOurs) {
		return err
	}
	_, herr := l.holder("")
	if herr != nil && !errors.Is(herr, errNotRunning) {
		return herr
	}
	if herr != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			say.Step("a cluster was here and its machine isn't any more: clearing away")
			if err := destroy(ctx, l, say); err != nil {
				return err
			}
		}
		m = marker{}
	}
	m.Ceph = m.Ceph || withCeph
	if err := l.writeMarker(m); err != nil {
		return err
	}
	if m.Ceph {
		if err := tool(ctx, l.Root, say, "go", "build", "-o", l.path(cephTool), "./hack/ceph"); err != nil {
			return err
		}
	}
	if err := makeCgroups(l); err != nil {
		return err
	}
	crds, err := snapshotCRDs(ctx, l)
	if err != nil {
		return err
	}
	if herr != nil {
		if err := l.hold(l.machineCommand(), machineFlags, l.Log("machine")); err != nil {
			return err
		}
		say.Step("machine: network, mounts and processes of its own")
	}
	command, err := l.enter("", "/")
	if err != nil {
		return err
	}
	rest, err := again(append([]string{insideName, l.Root, l.Dir, fmt.Sprint(m.Ceph), say.start.Format(time.RFC3339Nano)}, crds...))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], rest...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	// Closed when this program ends, however it does: the one inside mustn't go on when nobody holds the lock.
	alive, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer alive.Close()
	// nsenter waits for what it has started, and takes no signal for it: the group gets it.
	cmd.SysProcAttr = inGroup()
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Run(); err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
			return errTold // the one inside has said it
		}
		return err
	}
	return nil
}

// insideUp is the part of up that talks to the daemons. It runs inside of the machine.
func insideUp(ctx context.Context, l Layout, withCeph bool, crds []string, say *Progress) error {
	if err := writePKI(l); err != nil {
		return err
	}
	if err := writeConfigs(l); err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	if withCeph {
		group.Go(func() error { return startCeph(gctx, l, say) })
	}
	group.Go(func() error { return startKubernetes(gctx, l, crds, say) })
	if err := group.Wait(); err != nil {
		return err
	}
	say.Step("ready")
	return nil
}

func startCeph(ctx context.Context, l Layout, say *Progress) error {
	cmd := exec.CommandContext(ctx, l.path(cephTool), "--dir", l.Ceph(), "start")
	cmd.Env = l.environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("hack/ceph start: %w\n%s", err, lastLines(out, 20))
	}
	say.Step("ceph: ready")
	return nil
}

func startKubernetes(ctx context.Context, l Layout, crds []string, say *Progress) error {
	client, err := adminClient(l)
	if err != nil {
		return err
	}
	started := func(names ...string) error {
		for _, name := range names {
			d, err := findDaemon(l, name)
			if err != nil {
				return err
			}
			if _, err := l.start(ctx, d); err != nil {
				return err
			}
		}
		return nil
	}
	// The API server waits for etcd by itself, but not for long.
	if err := started("etcd"); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := l.startNode(ctx, n); err != nil {
			return err
		}
	}
	if err := l.waitFor(ctx, "etcd", func(ctx context.Context) error {
		return healthy(ctx, http.DefaultClient, "http://127.0.0.1:2379/health")
	}); err != nil {
		return err
	}
	if err := started("kube-apiserver"); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := started("containerd-" + n.Name); err != nil {
			return err
		}
	}
	if err := l.waitFor(ctx, "kube-apiserver", func(ctx context.Context) error { return healthy(ctx, client, l.apiURL()+"/readyz") }); err != nil {
		return err
	}
	say.Step("kube-apiserver: ready")
	if err := started("kube-controller-manager", "kube-scheduler", "kube-proxy"); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := started("kubelet-" + n.Name); err != nil {
			return err
		}
	}
	if len(crds) > 0 {
		args := []string{"apply", "--server-side", "--force-conflicts"}
		for _, c := range crds {
			args = append(args, "--filename", c)
		}
		if out, err := l.kubectl(ctx, args...); err != nil {
			return fmt.Errorf("kubectl apply: %w\n%s", err, out)
		}
		say.Step("snapshot CRDs: applied")
	}
	for _, n := range nodes {
		if err := l.waitFor(ctx, "kubelet-"+n.Name, func(ctx context.Context) error { return nodeReady(ctx, client, l, n) }); err != nil {
			return err
		}
		say.Step("%s: ready", n.Name)
	}
	// Pods can be made once their service account is there.
	return l.waitFor(ctx, "kube-controller-manager", func(ctx context.Context) error {
		return healthy(ctx, client, l.apiURL()+"/api/v1/namespaces/default/serviceaccounts/default")
	})
}

// waitFor waits until check is content, and no longer than the daemon lives that it is about.
func (l Layout) waitFor(ctx context.Context, daemon string, check func(context.Context) error) error {
	d, err := findDaemon(l, daemon)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return poll(ctx, 100*time.Millisecond, func() (bool, string, error) {
		err := check(ctx)
		if err == nil {
			return true, "", nil
		}
		pids, perr := findProcesses(d.commandLine())
		if perr != nil {
			return false, "", perr
		}
		if len(pids) == 0 {
			log, lerr := os.ReadFile(l.Log(daemon))
			return false, "", errors.Join(fmt.Errorf("%s has exited; the end of %s:\n%s", daemon, l.Log(daemon), lastLines(log, 10)), lerr)
		}
		return false, fmt.Sprintf("%s (%v; see %s)", daemon, err, l.Log(daemon)), nil
	})
}

func adminClient(l Layout) (*http.Client, error) {
	ca, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	cert, err := tls.LoadX509KeyPair(l.pki("admin.crt"), l.pki("admin.key"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}},
	}, nil
}

func healthy(ctx context.Context, client *http.Client, url string) error {
	return get(ctx, client, url, nil)
}

func get(ctx context.Context, client *http.Client, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}

func nodeReady(ctx context.Context, client *http.Client, l Layout, n Node) error {
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := get(ctx, client, l.apiURL()+"/api/v1/nodes/"+n.Name, &node); err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" && c.Status == "True" {
			return nil
		} else if c.Type == "Ready" {
			return fmt.Errorf("%s isn't ready: %s", n.Name, c.Message)
		}
	}
	return fmt.Errorf("%s says nothing of being ready", n.Name)
}

// kubectl runs the built kubectl as the administrator. It works inside of the machine only.
func (l Layout) kubectl(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(l.Bin(), "kubectl"), args...)
	cmd.Env = append(l.environment(), "KUBECONFIG="+l.Kubeconfig())
	return cmd.CombinedOutput()
}

// snapshotCRDs are the files of the resource types of snapshots, from the module that the driver's tests build on.
func snapshotCRDs(ctx context.Context, l Layout) ([]string, error) {
	const module = "github.com/kubernetes-csi/external-snapshotter/client/v8"
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = l.Root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go mod download %s: %w", module, err)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, err
	}
	all, err := filepath.Glob(filepath.Join(m.Dir, "config", "crd", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var crds []string
	for _, f := range all {
		if !strings.HasPrefix(filepath.Base(f), "kustomization") {
			crds = append(crds, f)
		}
	}
	if len(crds) == 0 {
		return nil, fmt.Errorf("%s has no config/crd/*.yaml", m.Dir)
	}
	return crds, nil
}
