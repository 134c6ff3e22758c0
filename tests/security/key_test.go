package security

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"

	"github.com/strata-csi/strata/tests/harness"
)

// TestTheKeyIsNowhereElse: the key of a volume is in its secret, and neither in what the programs print, answer or write, crash or not, nor in
// what others on the machine can read of their processes.
func TestTheKeyIsNowhereElse(t *testing.T) {
	l := newLab(t)
	v := l.volume("kept")
	node := harness.NewNode(t, l.ceph, "n1")
	node.Secrets = v.secret
	key := v.secret["userKey"]
	absent := func(where string, text []byte) {
		t.Helper()
		if bytes.Contains(text, []byte(key)) {
			t.Errorf("%s holds the key", where)
		}
	}
	answer := func(what string, m proto.Message, err error) {
		t.Helper()
		absent("the answer to "+what, fmt.Appendf(nil, "%v", m))
		absent("the error of "+what, fmt.Appendf(nil, "%v", err))
	}
	req := own(harness.Request("kept", 64*mib))
	again, err := l.controller.CreateVolume(l.call(), req)
	answer("the same request", again, err)
	req.Parameters["maxFiles"] = "many"
	wrong, err := l.controller.CreateVolume(l.call(), req)
	answer("a wrong request", wrong, err)
	got, err := l.controller.ControllerGetVolume(l.call(), &csi.ControllerGetVolumeRequest{VolumeId: v.GetVolumeId()})
	answer("ControllerGetVolume", got, err)
	list, err := l.controller.ListVolumes(l.call(), &csi.ListVolumesRequest{})
	answer("ListVolumes", list, err)

	target := node.Mount(v.Volume, "kept", harness.RWX)
	if got, err := os.ReadFile(filepath.Join(target, "file")); err != nil || string(got) != content {
		t.Fatalf("in a pod: %q, %v", got, err)
	}
	// Refusals of every sort, each with the key in the request.
	other := l.volume("other")
	for what, change := range map[string]func(*csi.NodeStageVolumeRequest){
		"another volume's path": func(r *csi.NodeStageVolumeRequest) { r.VolumeContext["path"] = other.path },
		"another volume": func(r *csi.NodeStageVolumeRequest) {
			r.VolumeId, r.VolumeContext = other.GetVolumeId(), other.GetVolumeContext()
		},
		"an unknown user":          func(r *csi.NodeStageVolumeRequest) { r.Secrets["userID"] = "nobody" },
		"a name that is no name":   func(r *csi.NodeStageVolumeRequest) { r.Secrets["userID"] = "no body" },
		"an option that isn't one": func(r *csi.NodeStageVolumeRequest) { r.VolumeContext["fuseMountOptions"] = "nonsense=1" },
	} {
		staging := node.Staging("refused-" + strings.ReplaceAll(what, " ", "-"))
		if err := os.MkdirAll(staging, 0o750); err != nil {
			t.Fatal(err)
		}
		r := proto.CloneOf(&csi.NodeStageVolumeRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: staging, VolumeCapability: harness.Capability(harness.RWX),
			VolumeContext: v.GetVolumeContext(), Secrets: v.secret})
		change(r)
		resp, err := node.NodeStageVolume(l.call(), r)
		if err == nil {
			t.Errorf("stage with %s: it worked", what)
		}
		answer("staging with "+what, resp, err)
	}
	pids := append(node.PIDs(), l.controller.PID())
	for _, c := range node.Clients() {
		pids = append(pids, c.PID)
	}
	if len(pids) < 4 {
		t.Fatalf("only the processes %v, none of ceph-fuse", pids)
	}
	for _, pid := range pids {
		for _, file := range []string{"cmdline", "environ", "mountinfo", "status"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if err != nil {
				t.Fatal(err)
			}
			absent(fmt.Sprintf("%s of process %d", file, pid), text)
		}
	}
	// What they say when they crash is searched too: ceph-fuse tells the last that it did, the others what all of their goroutines do.
	for _, c := range node.Clients() {
		if err := syscall.Kill(c.PID, syscall.SIGABRT); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "ceph-fuse has crashed", harness.Patience, func() error {
			if err := syscall.Kill(c.PID, 0); !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("process %d is there: %v", c.PID, err)
			}
			return nil
		})
	}
	node.Crash()
	l.controller.Crash()
	for who, log := range map[string]string{"the controller": l.controller.Log(), "strata-node and strata-mountd": node.Log()} {
		if !strings.Contains(log, "SIGABRT") || !strings.Contains(log, "goroutine ") {
			t.Errorf("%s didn't say how it crashed", who)
		}
	}
	absent("the log of the controller", []byte(l.controller.Log()))
	absent("the log of the node", []byte(node.Log()))
	if len(l.controller.Log()) == 0 || len(node.Log()) == 0 {
		t.Error("there is no log")
	}
	files := 0
	for _, dir := range []string{node.Dir, filepath.Dir(l.controller.ConfigPath)} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && (path == node.Staging("") || strings.HasPrefix(path, filepath.Dir(target))) {
				return fs.SkipDir // the volume itself
			}
			if !d.Type().IsRegular() {
				return nil
			}
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			files++
			absent(path, text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 3 {
		t.Errorf("looked into %d files only", files)
	}
	l.controller.Start("")
	node.StartMountd()
	node.Start("")
	node.Unmount(v.Volume, "kept")
	l.delete(v)
	l.delete(other)
}

// TestTheKeyIsNotInAnErrorOfTheAPI: what can't be stored isn't printed either, and the repetition finishes it.
func TestTheKeyIsNotInAnErrorOfTheAPI(t *testing.T) {
	l := newLab(t)
	l.kube.Break(true)
	req := own(harness.Request("unkept", 64*mib))
	_, err := l.controller.CreateVolume(l.call(), req)
	if err == nil {
		t.Fatal("it has an answer")
	}
	l.kube.Break(false)
	v := l.make(req)
	if key := v.secret["userKey"]; strings.Contains(err.Error(), key) || strings.Contains(l.controller.Log(), key) {
		t.Error("the error or the log holds the key")
	}
	l.delete(v)
}
