package monitoring

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

const root = "../.."

// output is what a program has written to standard error, for several goroutines.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) lines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Split(strings.TrimSpace(o.b.String()), "\n")
}

// program is one that runs, with JSON logs.
type program struct {
	name string
	cmd  *exec.Cmd
	log  *output
	done chan error
}

func build(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-tags", "pacific", "-o", path, "./cmd/"+name)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// start starts a program. It ends with the test, and must have logged nothing but JSON then.
func start(t *testing.T, dir, name string, args ...string) *program {
	t.Helper()
	p := &program{name: name, log: &output{}, done: make(chan error, 1)}
	p.cmd = exec.Command(build(t, dir, name), append(args, "--logging-format=json", "--v=6", "--metrics-address=127.0.0.1:0")...)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-p.done:
			if err != nil {
				t.Errorf("%s ended with %v", name, err)
			}
		case <-time.After(time.Minute):
			_ = p.cmd.Process.Kill()
			t.Errorf("%s doesn't end", name)
		}
		for _, line := range p.log.lines() {
			var fields struct{ TS, Level, Msg string }
			if err := json.Unmarshal([]byte(line), &fields); err != nil || fields.TS == "" || fields.Level == "" || fields.Msg == "" {
				t.Errorf("%s logged what is no line of the JSON format (%v): %s", name, err, line)
			}
		}
	})
	return p
}

// await waits until ok says so.
func (p *program) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-p.done:
			p.done <- err
			t.Fatalf("%s ended (%v) before %s:\n%s", p.name, err, what, strings.Join(p.log.lines(), "\n"))
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time: %s\n%s", p.name, what, strings.Join(p.log.lines(), "\n"))
		}
	}
}

// address is where it serves metrics.
func (p *program) address(t *testing.T) string {
	t.Helper()
	var address string
	p.await(t, "it serves metrics", func() bool {
		for _, line := range p.log.lines() {
			var fields struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &fields) == nil && fields.Msg == "Serving metrics" {
				address = fields.Address
			}
		}
		return address != ""
	})
	return address
}

// scrape returns the labels of every metric that a program exposes, by the metric's name.
func (p *program) scrape(t *testing.T) map[string]map[string]bool {
	t.Helper()
	r, err := http.Get("http://" + p.address(t) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	found := map[string]map[string]bool{}
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		labels := map[string]bool{}
		if before, _, ok := strings.Cut(line, "{"); ok && len(before) < len(name)+1 {
			name = before
			rest = line[len(before)+1 : strings.LastIndex(line, "}")]
			for pair := range strings.SplitSeq(rest, `",`) {
				label, _, _ := strings.Cut(pair, "=")
				labels[label] = true
			}
		}
		if found[name] == nil {
			found[name] = map[string]bool{}
		}
		maps.Copy(found[name], labels)
	}
	return found
}

// exposed starts all programs and returns what they expose together.
func exposed(t *testing.T) map[string]map[string]bool {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("must be run as root: strata-node mounts")
	}
	dir, err := os.MkdirTemp("", "mon") // short: it is the path of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	at := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	if err := os.Chmod(dir, 0o711); err != nil { // the cache of tier cold is below it, which isn't root's
		t.Fatal(err)
	}
	for _, d := range []string{"disk", "cold", "kubelet/pods/uid"} {
		if err := os.MkdirAll(at(d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return at(name)
	}
	scratch := write("scratch.yaml", fmt.Sprintf("pools: [{name: main, disks: [{path: %s}, {path: %s}], kinds: [loop]}]\nclasses: [{name: default, pool: main, defaultSize: 16Mi}]\n", at("disk"), at("gone")))
	// A cluster that isn't there: all but what it alone could tell is exposed.
	cluster := "clusters: [{clusterID: lab, monitors: [\"127.0.0.1:1\"]%s}]\n"
	ofNode := write("node.yaml", fmt.Sprintf(cluster, ""))
	key := write("keyring", "[client.strata]\n\tkey = AQBcRERmAAAAABAAu7m6PqnFhP6Vwe3tv8Z2mQ==\n")
	ofController := write("controller.yaml", fmt.Sprintf(cluster, ", namePrefix: dev, controller: {user: strata, keyringFile: "+key+"}"))

	mountd := start(t, dir, "strata-mountd", "--socket="+at("m"), "--state-dir="+at("mountd"), "--log-dir="+at("log"), "--ceph-fuse=true",
		"--coldfs="+build(t, dir, "strata-coldfs"), "--coldfs-cache-dir="+at("cache"), "--coldfs-cache-size=256Mi", "--coldfs-cache-reserve=1Mi")
	mountCold(t, mountd, at("m"), at("cold"))
	node := start(t, dir, "strata-node", "--endpoint=unix://"+at("n"), "--node-id=node-1", "--cluster-config="+ofNode, "--mountd-socket="+at("m"),
		"--scratch-config="+scratch, "--state-dir="+at("state"), "--kubelet-dir="+at("kubelet"))
	// An API server that nobody listens for: what is counted of it is there all the same.
	kubeconfig := at("kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:1"}}],`+
		`"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	controller := start(t, dir, "strata-controller", "--endpoint=unix://"+at("c"), "--cluster-config="+ofController, "--scratch", "--cold", "--kubeconfig="+kubeconfig)
	for _, socket := range []string{at("n"), at("c")} {
		conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		if err := conn.Invoke(ctx, "/csi.v1.Identity/GetPluginInfo", &emptypb.Empty{}, &emptypb.Empty{}, grpc.WaitForReady(true)); err != nil {
			t.Error(err)
		}
		cancel()
		_ = conn.Close()
	}
	node.await(t, "it has looked at its disks", func() bool { return node.scrape(t)["strata_scratch_room_bytes"] != nil })

	all := map[string]map[string]bool{}
	for _, p := range []*program{mountd, node, controller} {
		for name, labels := range p.scrape(t) {
			if all[name] == nil {
				all[name] = map[string]bool{}
			}
			maps.Copy(all[name], labels)
		}
	}
	return all
}
