package sts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/cold/session"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/tests/harness"
)

// site is a volume mounted on a node, whose requests go through a proxy that sees by whom they are signed.
type site struct {
	*lab
	victim
	proxy *s3test.FaultProxy
	node  *harness.Node
	csi   *csi.Volume
	on    string
}

const rwx = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER

func newSite(t testing.TB, name string) *site {
	t.Helper()
	l := newLab(t)
	proxy := s3test.Proxy(t, l.endpoint)
	l.endpoint = proxy.Endpoint
	f := &site{lab: l, victim: l.volume(l.spec(name)), proxy: proxy, node: harness.NewColdNode(t, &s3test.Server{Endpoint: l.endpoint}, "a")}
	f.node.Secrets = f.fields
	f.csi = &csi.Volume{VolumeId: string(f.ID), VolumeContext: f.victim.Context}
	f.on = f.node.Mount(f.csi, "vol", rwx)
	return f
}

// mint is a session of the volume for some time.
func (f *site) mint(lifetime time.Duration) map[string]string {
	f.Helper()
	c, err := volumecontext.Parse(f.ID, f.victim.Context)
	must(f.lab, err)
	c.CredentialsLifetime = lifetime
	r := session.Request{Volume: "pvc", Context: c}
	r.Class.Credentials = f.lab.key
	s, err := session.Mint(f.TB.Context(), r, s3.Options{})
	must(f.lab, err)
	return session.Fields(r, s)
}

// publish is what kubelet does about once in a minute, with what the Secret has by now.
func (f *site) publish(fields map[string]string) {
	f.Helper()
	f.node.Secrets = fields
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	must(f.lab, f.node.Publish(ctx, f.csi, "vol", "vol", rwx, false))
}

// signers are the access keys of the requests that the store has had since Forget.
func (f *site) signers() map[string]int {
	all := map[string]int{}
	for _, r := range f.proxy.Requests(s3test.Match{}) {
		_, id, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		id, _, _ = strings.Cut(id, "/")
		all[id]++
	}
	return all
}

// conditions are what the engine says of the volume.
func (f *site) conditions() []control.Condition {
	var all []control.Condition
	for _, s := range f.node.Clients() {
		all = append(all, s.Conditions...)
	}
	return all
}

// wait waits until something is so.
func (f *site) wait(what string, is func() bool) {
	f.Helper()
	for end := time.Now().Add(harness.Patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("%s: not within %s; the engine says %v", what, harness.Patience, f.conditions())
		}
	}
}

func TestARunningEngineTakesNewCredentials(t *testing.T) {
	f := newSite(t, "pvc-renewed")
	before := f.fields[secret.KeyAccessKeyID]

	// A writer, with an upload under way, and readers go on all the time.
	writing, err := os.Create(filepath.Join(f.on, "large"))
	must(t, err)
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	part := func() {
		t.Helper()
		for range 20 {
			_, err := writing.Write(block)
			must(t, err)
		}
	}
	part()
	f.wait("a part is sent", func() bool { return f.proxy.Count(s3test.Match{Method: "PUT", Query: "partNumber"}) > 0 })
	stop, failed := make(chan struct{}), make(chan error, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			name := filepath.Join(f.on, fmt.Sprintf("small-%d", n%5))
			err := os.WriteFile(name, []byte(name), 0o600)
			var got []byte
			if err == nil {
				got, err = os.ReadFile(name)
			}
			if err == nil && string(got) != name {
				err = fmt.Errorf("DATA MISMATCH: %s has %q", name, got)
			}
			if err != nil {
				select {
				case failed <- err:
				default:
				}
				return
			}
		}
	})

	fresh := f.mint(time.Hour)
	f.publish(fresh)
	f.wait("the engine says that it has new credentials", func() bool { return strings.Count(f.node.EngineLogs(), "New credentials are used") >= 2 }) // of Mount, and these
	// What was under way with the old ones may end with them.
	f.wait("the new ones are used", func() bool { return f.signers()[fresh[secret.KeyAccessKeyID]] > 10 })
	f.proxy.Forget()
	part()
	must(t, writing.Close())
	f.wait("more requests", func() bool { return f.signers()[fresh[secret.KeyAccessKeyID]] > 50 })
	if n := f.signers()[before]; n > 0 {
		t.Errorf("%d requests were signed with the credentials before", n)
	}
	close(stop)
	reading.Wait()
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
	if got := f.read(f.victim, "large"); len(got) != 40<<20 || got != strings.Repeat(string(block), 40) {
		t.Errorf("DATA MISMATCH: the file has %d bytes, or others", len(got))
	}
	// The same again costs nothing.
	said := strings.Count(f.node.EngineLogs(), "New credentials are used")
	for range 3 {
		f.publish(fresh)
	}
	f.publish(f.mint(time.Hour))
	f.wait("others after the same", func() bool { return strings.Count(f.node.EngineLogs(), "New credentials are used") > said })
	if now := strings.Count(f.node.EngineLogs(), "New credentials are used"); now != said+1 {
		t.Errorf("the engine was given credentials %d times, want once", now-said)
	}
	f.node.Unmount(f.csi, "vol")
}

func TestASessionThatEndsIsSeenAndHealed(t *testing.T) {
	f := newSite(t, "pvc-ends")
	short := f.mint(3 * time.Second)
	f.publish(short)
	f.wait("writes are refused", func() bool {
		return errors.Is(os.WriteFile(filepath.Join(f.on, "new"), []byte("x"), 0o600), unix.EACCES)
	})
	if _, err := os.ReadFile(filepath.Join(f.on, "file")); !errors.Is(err, unix.EACCES) {
		t.Errorf("reading: %v", err)
	}
	f.wait("the volume's health says so", func() bool {
		all := f.conditions()
		return len(all) == 1 && all[0].Reason == control.CredentialRefused
	})
	f.publish(f.mint(time.Hour))
	f.wait("writes work again", func() bool { return os.WriteFile(filepath.Join(f.on, "new"), []byte("x"), 0o600) == nil })
	got, err := os.ReadFile(filepath.Join(f.on, "file"))
	must(t, err)
	if string(got) != content {
		t.Errorf("got %q", got)
	}
	f.wait("the volume's health is good", func() bool { return len(f.conditions()) == 0 })
	f.node.Unmount(f.csi, "vol")
}

// What is done with files by ways that a session may not go: a part of an object isn't copied, many objects aren't removed at once.
func TestAnEngineWorksWithCredentialsOfItsVolume(t *testing.T) {
	f := newSite(t, "pvc-works")
	large := filepath.Join(f.on, "large")
	block := strings.Repeat("0123456789abcdef", 1<<16)
	must(t, os.WriteFile(large, []byte(strings.Repeat(block, 24)), 0o600))
	file, err := os.OpenFile(large, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = file.WriteString("appended")
	must(t, err)
	must(t, file.Close())
	if got := f.read(f.victim, "large"); got != strings.Repeat(block, 24)+"appended" {
		t.Errorf("DATA MISMATCH: after something was appended it has %d bytes, or others", len(got))
	}
	must(t, os.Chmod(large, 0o640))
	must(t, os.Mkdir(filepath.Join(f.on, "dir"), 0o755))
	for i := range 20 {
		must(t, os.WriteFile(filepath.Join(f.on, "dir", fmt.Sprint(i)), []byte("x"), 0o600))
	}
	must(t, os.Rename(filepath.Join(f.on, "dir"), filepath.Join(f.on, "moved")))
	names, err := os.ReadDir(filepath.Join(f.on, "moved"))
	must(t, err)
	if len(names) != 20 {
		t.Errorf("%d files in the directory that was renamed", len(names))
	}
	if _, err := os.Stat(filepath.Join(f.on, "dir")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
	must(t, os.RemoveAll(filepath.Join(f.on, "moved")))
	if all := f.conditions(); len(all) > 0 {
		t.Errorf("the volume isn't well: %v", all)
	}
	copies := f.proxy.Count(s3test.Match{Query: "partNumber", If: func(r s3test.Request) bool { return r.Header.Get("X-Amz-Copy-Source") != "" }})
	if lists := f.proxy.Count(s3test.Match{Query: "delete"}); copies != 1 || lists != 1 {
		t.Errorf("%d parts were to be copied and %d lists to be removed, want one each: the engine then knows that it may not", copies, lists)
	}
	f.node.Unmount(f.csi, "vol")
}
