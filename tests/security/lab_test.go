package security

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/librados"
	"github.com/strata-csi/strata/tests/harness"
)

const mib = int64(1) << 20

// lab is a controller that gives every volume an identity of its own.
type lab struct {
	*testing.T
	ceph       *harness.Ceph
	kube       *harness.KubeAPI
	controller *harness.Controller
	root       string // the whole file system
}

func newLab(t *testing.T) *lab {
	ceph := harness.NewCeph(t)
	kube := harness.NewKubeAPI(t)
	return &lab{T: t, ceph: ceph, kube: kube, root: ceph.RootMount(t), controller: harness.NewController(t, ceph, harness.ControllerOptions{Kube: kube, Fencing: true})}
}

func (l *lab) call() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	l.Cleanup(cancel)
	return ctx
}

// victim is a volume with a file in it.
type victim struct {
	*csi.Volume
	name      string
	path      string // in the file system
	namespace string // of its objects
	pool      string
	secret    map[string]string
}

const content = "nobody else's business"

func (l *lab) volume(name string, parameters ...string) victim {
	l.Helper()
	return l.make(own(harness.Request(name, 64*mib, parameters...)))
}

// own asks for an identity of the volume's own.
func own(req *csi.CreateVolumeRequest) *csi.CreateVolumeRequest {
	req.Parameters["identity"] = "volume"
	req.Parameters["csi.storage.k8s.io/pv/name"] = req.GetName()
	return req
}

func (l *lab) make(req *csi.CreateVolumeRequest) victim {
	l.Helper()
	resp, err := l.controller.CreateVolume(l.call(), req)
	if err != nil {
		l.Fatal(err)
	}
	v := victim{Volume: resp.GetVolume(), name: req.GetName(), path: resp.GetVolume().GetVolumeContext()["path"], pool: req.GetParameters()["pool"], secret: l.kube.Secrets()[req.GetName()]}
	if v.secret["userID"] == "" || v.secret["userKey"] == "" {
		l.Fatalf("volume %s has no secret", v.name)
	}
	if strings.Contains(v.path, "/.snap/") {
		return v
	}
	v.namespace = harness.Xattr(l, l.root+v.path, "ceph.dir.layout.pool_namespace")
	file, err := os.Create(filepath.Join(l.root+v.path, "file"))
	if err != nil {
		l.Fatal(err)
	}
	_, err = file.WriteString(content)
	if err == nil {
		err = file.Sync() // so that its object is there
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		l.Fatal(err)
	}
	return v
}

func (l *lab) delete(v victim) {
	l.Helper()
	if _, err := l.controller.DeleteVolume(l.call(), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()}); err != nil {
		l.Fatal(err)
	}
}

// objects are the names of a volume's objects, as an administrator sees them.
func (l *lab) objects(v victim) []string {
	l.Helper()
	return strings.Fields(l.ceph.Rados(l, "-p", v.pool, "-N", v.namespace, "ls"))
}

// dial connects with a volume's key.
func (l *lab) dial(secret map[string]string) (ceph.Conn, error) {
	return l.dialAs(secret["userID"], secret["userKey"])
}

func (l *lab) dialAs(user, key string) (ceph.Conn, error) {
	c, err := librados.Dial(l.call(), librados.Options{Monitors: []string{l.ceph.Monitor}, User: user, Key: key})
	if err != nil {
		return nil, err
	}
	l.Cleanup(c.Close)
	return c, nil
}

// command is one to the monitors or to the manager.
type command struct {
	to   string
	args map[string]any
}

func mon(prefix string, args ...any) command { return command{"mon", pairs(prefix, args)} }
func mgr(prefix string, args ...any) command { return command{"mgr", pairs(prefix, args)} }

func pairs(prefix string, args []any) map[string]any {
	m := map[string]any{"prefix": prefix}
	for i := 0; i+1 < len(args); i += 2 {
		m[args[i].(string)] = args[i+1]
	}
	return m
}

func (c command) String() string { return fmt.Sprint(c.to, " ", c.args) }

func (l *lab) send(conn ceph.Conn, c command) error {
	send := conn.Mon
	if c.to == "mgr" {
		send = conn.Mgr
	}
	_, err := send(l.call(), c.args)
	return err
}

// refused says that err is Ceph's refusal of what was tried, and not some other failure.
func refused(t testing.TB, what string, err error) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: it worked", what)
		return
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return
	}
	// Of a program of Ceph's.
	for _, words := range []string{"Permission denied", "Operation not permitted", "(13)", "(1)"} {
		if strings.Contains(err.Error(), words) {
			return
		}
	}
	t.Errorf("%s failed, but wasn't refused: %v", what, err)
}

// unknown says that the monitors don't know the key that was tried: they offer a client no way to prove itself (handle_auth_bad_method).
func unknown(t testing.TB, what string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "handle_auth_bad_method") {
		t.Errorf("%s: %v", what, err)
	}
}
