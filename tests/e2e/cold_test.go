//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is in a cold volume outlives its pods, is an object that any S3 tool reads, and goes with its claim.
func TestColdOutlivesItsPods(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	bucket, err := k.store.bucket(s.ctx, volumesBucket)
	if err != nil {
		t.Fatal(err)
	}
	s.claim("data", cold, "1Gi", corev1.ReadWriteMany)
	first := s.run("first", k.nodes[0], claimed("data", "/data"))
	sum := first.sh("mkdir /data/run && dd if=/dev/urandom of=/data/run/checkpoint bs=1M count=24 2>/dev/null && sha256sum < /data/run/checkpoint")
	prefix := s.bound("data").Spec.CSI.VolumeAttributes["prefix"]
	if !strings.Contains(prefix, s.name) {
		t.Errorf("the volume's prefix is %q, which doesn't say whose it is", prefix)
	}
	content, err := object(s.ctx, bucket, prefix+"run/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	if got := sha256.Sum256(content); !strings.HasPrefix(sum, hex.EncodeToString(got[:])) {
		t.Errorf("an S3 tool reads %x; %s was written", got, sum)
	}
	first.remove()
	for i, node := range k.nodes[:2] {
		p := s.run(fmt.Sprintf("again-%d", i), node, claimed("data", "/data"))
		if got := p.sh("sha256sum < /data/run/checkpoint"); got != sum {
			t.Errorf("a pod on %s reads %s; %s was written", node, got, sum)
		}
		p.remove()
	}
	s.deleteClaim("data")
	s.wait("the objects are gone", patience, func(ctx context.Context) error {
		keys, err := keysBelow(ctx, bucket, prefix)
		if err == nil && len(keys) > 0 {
			err = fmt.Errorf("there are %v", keys)
		}
		return err
	})
}

// Two pods on two nodes: what one has closed the other reads when it opens it, under the name that it has then.
func TestColdSharedByTwoNodes(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", cold, "1Gi", corev1.ReadWriteMany)
	s.create(s.pod("a", k.nodes[0], claimed("data", "/data")))
	s.create(s.pod("b", k.nodes[1], claimed("data", "/data")))
	a, b := s.ready("a"), s.ready("b")
	for i, pods := range [][2]*running{{a, b}, {b, a}, {a, b}} {
		sum := pods[0].sh("dd if=/dev/urandom of=/data/new bs=1M count=12 2>/dev/null && mv /data/new /data/latest && sha256sum < /data/latest")
		// What a node knows of a name is a second old at most (metadataTTL).
		s.wait(fmt.Sprintf("round %d: the other pod reads what was written", i), patience, func(context.Context) error {
			got, err := pods[1].try("sha256sum < /data/latest")
			if err == nil && trim(got) != sum {
				err = fmt.Errorf("it reads %s; %s was written", trim(got), sum)
			}
			return err
		})
	}
	if got := b.sh("ls -A /data"); got != "latest" {
		t.Errorf("the volume has %q", got)
	}
}

// The size of a cold claim is a soft quota, which grows under the pods.
func TestColdGrows(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", cold, "1Gi", corev1.ReadWriteMany)
	p := s.run("pod", "", claimed("data", "/data"))
	p.sh("echo content > /data/file")
	s.grow("data", "3Gi")
	if got := p.sh("cat /data/file"); got != "content" {
		t.Errorf("the pod reads %q", got)
	}
}

// A generic ephemeral volume of a class that waits for its pod: the scheduler, which asks for room first, finds some, and what the volume held goes with the pod.
func TestColdComesAndGoesWithItsPod(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	bucket, err := k.store.bucket(s.ctx, volumesBucket)
	if err != nil {
		t.Fatal(err)
	}
	p := s.run("own", "", generic(coldWaits, "1Gi", "/data"))
	p.sh("echo content > /data/file")
	volume := s.bound("own-v0")
	prefix := volume.Spec.CSI.VolumeAttributes["prefix"]
	content, err := object(s.ctx, bucket, prefix+"file")
	if err != nil {
		t.Fatal(err)
	}
	if string(content) != "content\n" {
		t.Errorf("the object has %q", content)
	}
	p.remove()
	s.volumeGone(volume.Name)
	keys, err := keysBelow(s.ctx, bucket, prefix)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) > 0 {
		t.Errorf("there are %v after the volume", keys)
	}
}

// A cold volume with credentials of its own gets new ones while its pod works: the controller puts them into the volume's Secret, kubelet brings them to the node.
// Here the Secret is lost, so that they come soon.
func TestColdCredentialsAreRenewed(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", coldOwn, "1Gi", corev1.ReadWriteMany)
	p := s.busyPod("works", k.nodes[0], claimed("data", "/data"))
	v := s.bound("data")
	first, err := s.secret(v.Name)
	if err != nil || len(first.Data["sessionToken"]) == 0 {
		t.Fatalf("the volume's Secret has no session: %v", err)
	}
	if bytes.Equal(first.Data["accessKeyID"], []byte(k.store.key.AccessKeyID)) {
		t.Error("the volume's Secret has the controller's access key")
	}
	p.goesOn(3)
	if err := k.client.CoreV1().Secrets(driverNamespace).Delete(s.ctx, v.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.wait("the Secret is made anew", patience, func(context.Context) error {
		again, err := s.secret(v.Name)
		if err == nil && bytes.Equal(again.Data["accessKeyID"], first.Data["accessKeyID"]) {
			err = errors.New("it has the same session")
		}
		return err
	})
	s.wait("the node hands them on", patience, func(ctx context.Context) error {
		log, err := k.client.CoreV1().Pods(driverNamespace).GetLogs(s.driverPod("strata-node", p.node).Name, &corev1.PodLogOptions{Container: nodeContainer}).DoRaw(ctx)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(log) {
			if bytes.Contains(line, []byte("has new credentials")) && bytes.Contains(line, []byte(v.Spec.CSI.VolumeHandle)) {
				return nil
			}
		}
		return errors.New("strata-node doesn't say so")
	})
	p.goesOn(3)
	p.remove()
	s.deleteClaim("data")
	s.volumeGone(v.Name)
	s.wait("the Secret is gone with the volume", patience, func(context.Context) error {
		if _, err := s.secret(v.Name); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
}
