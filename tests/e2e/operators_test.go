//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/kubectl"
)

// What operators do with kubectl strata.

// strata runs kubectl-strata with -o json, which must end with that exit code, and decodes what it printed.
func (s *space) strata(into any, code int, args ...string) {
	s.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(s.ctx, filepath.Join(k.root, "bin", "kubectl-strata"), append(args, "--output=json", "--kubeconfig="+os.Getenv("KUBECONFIG"))...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != code {
		s.Fatalf("kubectl strata %s: %v, want exit code %d: %s\n%s", strings.Join(args, " "), err, code, errs.String(), out.String())
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		s.Fatalf("kubectl strata %s: %v: %s", strings.Join(args, " "), err, out.String())
	}
}

// keys changes those of one volume.
func (s *space) keys(args ...string) inspect.Keys {
	s.Helper()
	var list kubectl.KeyList
	s.strata(&list, kubectl.ExitOK, args...)
	if len(list.Volumes) != 1 || list.Volumes[0].Error != "" {
		s.Fatalf("kubectl strata %s: %+v", strings.Join(args, " "), list)
	}
	return list.Volumes[0].Keys
}

// Of a deployment of the chart, as it is applied here, doctor calls nothing wrong but the class that is wrong on purpose. It isn't parallel: it looks at the
// claims of all tests, too.
func TestDoctorFindsWhatIsWrong(t *testing.T) {
	s := newSpace(t)
	var d kubectl.Diagnosis
	s.strata(&d, kubectl.ExitFound, "doctor")
	for _, c := range d.Checks {
		switch wrong := c.Name == "storageclass" && c.Subject == warmWrong; {
		case c.Name == "version": // the images are named after what is in them
		case wrong && (c.Result != inspect.Fail || !strings.Contains(c.Found, "no-such-pool")), !wrong && c.Result != inspect.OK:
			t.Errorf("%s %s: %s: %s; %s", c.Name, c.Subject, c.Result, c.Found, c.Fix)
		}
	}
	for _, name := range []string{"controller", "node", "holder", "node-rights", "storageclass", "scratch-room", "ceph-reachable", "ceph-pools", "ceph-mds"} {
		if !slices.ContainsFunc(d.Checks, func(c inspect.Check) bool { return c.Name == name }) {
			t.Errorf("doctor doesn't look at %s", name)
		}
	}
}

// secret is that of a volume, with its user and key.
func (s *space) secret(volume string) (*corev1.Secret, error) {
	return k.client.CoreV1().Secrets(driverNamespace).Get(s.ctx, volume, metav1.GetOptions{})
}

// A volume's key is changed under a running pod, and taken from everybody, a running pod included; undone, the data is there. A volume of the same
// node and team doesn't notice.
func TestRotateAndFence(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", warm, "1Gi", corev1.ReadWriteMany)
	s.claim("other", warm, "1Gi", corev1.ReadWriteMany)
	has := s.run("has-it", k.nodes[0], claimed("data", "/data"))
	other := s.busyPod("other", k.nodes[0], claimed("other", "/other"))
	has.sh("echo kept > /data/file && sync /data/file")
	volume := s.bound("data").Name

	var volumes kubectl.VolumeList
	s.strata(&volumes, kubectl.ExitOK, "volumes")
	if i := slices.IndexFunc(volumes.Volumes, func(v kubectl.Volume) bool { return v.PV == volume }); i < 0 {
		t.Errorf("volumes doesn't list %s", volume)
	} else if v := volumes.Volumes[i]; v.Tier != "warm" || v.PVC != "data" || v.Team != s.name || v.State != "ready" || !slices.Equal(v.Nodes, []string{has.node}) {
		t.Errorf("volumes says %+v", v)
	}
	var usage kubectl.Usage
	s.strata(&usage, kubectl.ExitOK, "usage")
	if !slices.ContainsFunc(usage.Teams, func(u kubectl.TeamUsage) bool {
		return u.Team == s.name && u.Tier == "warm" && u.Volumes == 2 && u.Provisioned == 2<<30
	}) {
		t.Errorf("usage says %+v", usage.Teams)
	}

	first, err := s.secret(volume)
	if err != nil {
		t.Fatal(err)
	}
	s.keys("rotate", s.name+"/data")
	second, err := s.secret(volume)
	if err != nil || bytes.Equal(second.Data["userID"], first.Data["userID"]) || bytes.Equal(second.Data["userKey"], first.Data["userKey"]) {
		t.Errorf("after rotate the Secret has the same user or key, %v", err)
	}
	has.sh("echo rotated >> /data/file && sync /data/file")
	elsewhere := s.run("elsewhere", k.nodes[1], claimed("data", "/data"))
	if got := elsewhere.sh("cat /data/file"); got != "kept\nrotated" {
		t.Errorf("with the new key a pod reads %q", got)
	}
	elsewhere.remove()

	if f := s.keys("fence", s.name+"/data"); len(f.ShutOut) == 0 {
		t.Errorf("fence shut nobody out: %+v", f)
	}
	// ESHUTDOWN, ENOTCONN, EACCES, EIO, and ENOENT: what the monitors answer a user that isn't there any more.
	gone := []string{"shutdown", "not connected", "Permission denied", "Input/output error", "I/O error", "No such file or directory"}
	has.fails("touch /data/new", gone...)
	has.fails("cat /data/file", gone...)
	if _, err := s.secret(volume); !apierrors.IsNotFound(err) {
		t.Errorf("the Secret of a fenced volume: %v", err)
	}
	other.goesOn(3)
	s.create(s.pod("waits", k.nodes[1], claimed("data", "/data")))
	s.event("waits", "FailedMount", "not found")

	s.keys("fence", "--undo", s.name+"/data")
	waits := s.ready("waits")
	if got := waits.sh("cat /data/file"); got != "kept\nrotated" {
		t.Errorf("after the fence a pod reads %q", got)
	}
	has.remove()
	again := s.run("again", k.nodes[0], claimed("data", "/data"))
	again.sh("echo again >> /data/file && sync /data/file")
	if got := waits.sh("cat /data/file"); got != "kept\nrotated\nagain" {
		t.Errorf("a pod on the other node reads %q", got)
	}
	other.goesOn(3)
	for _, p := range []*running{again, waits, other.running} {
		p.remove()
	}

	s.deleteClaim("data")
	s.wait("the volume's Secret is gone with it", patience, func(context.Context) error {
		if _, err := s.secret(volume); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
}
