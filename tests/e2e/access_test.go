//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// everyKind are the kinds of volume that a pod may have, at /data.
func (s *space) everyKind() map[string]mount {
	s.claim("warm", warm, "1Gi", corev1.ReadWriteMany)
	return map[string]mount{
		"warm": claimed("warm", "/data"), "generic": generic(scratch, "100Mi", "/data"),
		"inline": inline("default", "100Mi", "/data"), "inline-loop": inline("loop", "320Mi", "/data"),
	}
}

// A pod that runs as an ordinary user, with and without fsGroup, can use its volumes, and its files are its own.
func TestUsersAndGroups(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	kinds := s.everyKind()
	user, owner, no := int64(1000), int64(2000), false
	for kind, m := range kinds {
		p := s.pod(kind, "", m)
		p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, FSGroup: &owner}
		p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
		s.create(p)
	}
	for kind := range kinds {
		p := s.ready(kind)
		p.sh("echo x > /data/file && mkdir /data/dir && echo y > /data/dir/file && chmod 600 /data/file && rm /data/dir/file")
		if got := p.sh("stat -c %u /data/file"); got != "1000" {
			t.Errorf("%s: the file is of user %s", kind, got)
		}
		if !strings.Contains(" "+p.sh("id -G")+" ", " 2000 ") {
			t.Errorf("%s: the pod is not in group 2000", kind)
		}
	}
}

// grouped is a pod of an ordinary user with an fsGroup, which has the claim "data" at /data.
func (s *space) grouped(name, node string, group int64) *corev1.Pod {
	user := int64(1000)
	p := s.pod(name, node, claimed("data", "/data"))
	p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, FSGroup: &group}
	return p
}

// A scratch claim belongs to the fsGroup of the pod that has it, also when it was another group's before.
func TestFSGroupOfScratchClaims(t *testing.T) {
	t.Parallel()
	for _, class := range []string{scratch, scratchLoop} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			s.claim("data", class, "320Mi", corev1.ReadWriteOnce)
			for _, group := range []int64{2000, 3000} {
				own := s.start(s.grouped("own", "", group))
				if got, want := own.sh("mkdir /data/dir && touch /data/dir/file && stat -c %g /data /data/dir /data/dir/file | uniq"), fmt.Sprint(group); got != want {
					t.Errorf("with fsGroup %s the volume and what is made in it have the groups %q", want, got)
				}
				own.remove()
			}
		})
	}
}

// A cold volume belongs to the fsGroup of the pods that have it on a node. One with another group is kept out, and told why, where it could do less.
func TestFSGroupOfColdVolumes(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", coldClosed, "1Gi", corev1.ReadWriteMany)
	first := s.start(s.grouped("first", k.nodes[0], 2000))
	if got := first.sh("umask 077; mkdir /data/dir && echo content >/data/dir/file && stat -c '%a %g' /data /data/dir /data/dir/file"); got != "2770 2000\n2770 2000\n660 2000" {
		t.Errorf("the pod sees %q", got)
	}
	second := s.start(s.grouped("second", k.nodes[0], 2000))
	if got := second.sh("cat /data/dir/file"); got != "content" {
		t.Errorf("another pod of the group reads %q", got)
	}
	s.create(s.grouped("another", k.nodes[0], 3000))
	s.event("another", "FailedMount", "for group 2000", "fsGroup is 3000", "dirMode 0777")
	elsewhere := s.start(s.grouped("elsewhere", k.nodes[1], 3000))
	if got := elsewhere.sh("echo more >>/data/dir/file && cat /data/dir/file && stat -c %g /data/dir/file"); got != "content\nmore\n3000" {
		t.Errorf("on a node of its own the other group's pod sees %q", got)
	}
	first.remove()
	second.remove()
	s.ready("another")
}

// A subPath is a directory of the volume, made on demand.
func TestSubPath(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	kinds := s.everyKind()
	for kind, m := range kinds {
		p := s.pod(kind, "", m)
		c := &p.Spec.Containers[0]
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "v0", MountPath: "/part", SubPath: "a/b"})
		s.create(p)
	}
	for kind := range kinds {
		p := s.ready(kind)
		p.sh("echo x > /part/file")
		if got := p.sh("cat /data/a/b/file"); got != "x" {
			t.Errorf("%s: through the volume's root it reads %q", kind, got)
		}
		p.fails("ls /part/../file /part/data", "No such file")
	}
}

// readOnly is kept, of the mount and of the volume.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", warm, "1Gi", corev1.ReadWriteMany)
	w := s.run("writer", k.nodes[0], claimed("data", "/data"))
	w.sh("echo x > /data/file && sync")
	mounted := claimed("data", "/data")
	mounted.readOnly = true
	volume := claimed("data", "/data")
	volume.volume.PersistentVolumeClaim.ReadOnly = true
	own := inline("default", "100Mi", "/data")
	yes := true
	own.volume.CSI.ReadOnly = &yes
	// On the node where a pod writes, and on the other.
	for name, m := range map[string]mount{"mounted": mounted, "volume": volume, "own": own} {
		for i, node := range k.nodes[:2] {
			s.create(s.pod(name+string(rune('0'+i)), node, m))
		}
	}
	for _, name := range []string{"mounted", "volume", "own"} {
		for i := range 2 {
			p := s.ready(name + string(rune('0'+i)))
			p.fails("echo y > /data/new", "Read-only file system")
			if name != "own" && p.sh("cat /data/file") != "x" {
				t.Errorf("%s on %s doesn't read what was written", name, p.node)
			}
		}
	}
	w.sh("echo y >> /data/file")
}

// The mount options of a class are those of the mount in the pod.
func TestMountOptions(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("warm", warmOptions, "1Gi", corev1.ReadWriteMany)
	for kind, m := range map[string]mount{"of-warm": claimed("warm", "/data"), "of-scratch": generic(scratchOptions, "100Mi", "/data")} {
		p := s.run(kind, "", m)
		options := p.sh("grep ' /data ' /proc/mounts | cut -d' ' -f4")
		for _, o := range []string{"noexec", "noatime", "nosuid", "nodev"} {
			if !strings.Contains(","+options+",", ","+o+",") {
				t.Errorf("%s: mounted with %s; %s is missing", kind, options, o)
			}
		}
		p.fails("printf '#!/bin/sh\\necho ran\\n' > /data/program && chmod 755 /data/program && /data/program", "Permission denied")
	}
}
