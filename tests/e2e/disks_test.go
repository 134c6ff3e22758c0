//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// makeDisks gives a node the disks of values.yaml: file systems in files, each behind a loop device that goes with its mount. Harmless to repeat.
const makeDisks = `
dir=/var/lib/strata/disks
mkdir -p $dir
disk() { # name, size, and how the file system is made
	name=$1 size=$2; shift 2
	mkdir -p $dir/$name
	if mountpoint -q $dir/$name; then return; fi
	truncate -s $size $dir/$name.img
	"$@" $dir/$name.img
	mount -o loop $dir/$name.img $dir/$name
}
disk btrfs 4T mkfs.btrfs -q -m single -d single
disk loop 6G mkfs.ext4 -q -m0 -E lazy_itable_init=1
disk small 1G mkfs.ext4 -q -m0 -E lazy_itable_init=1
`

// leftOnNode prints what is left on a node of volumes: mounts of kubelet and of ours, loop devices, files on the disks, and records. Those of
// claims that were grown stay a while: the node asks every ten minutes whether the claims are gone.
const leftOnNode = `
grep -E ' /var/lib/kubelet/(pods/[^ ]*kubernetes.io~csi|plugins/kubernetes.io/csi/csi.strata.dev)' /proc/self/mountinfo | cut -d' ' -f5 | sed 's/^/mount /'
grep -E ' /var/lib/strata/node/mnt/' /proc/self/mountinfo | cut -d' ' -f5 | sed 's/^/mount /'
grep -E 'fuse.(ceph-fuse|strata-coldfs)' /proc/self/mountinfo | cut -d' ' -f5 | sed 's/^/mount /'
for f in /sys/block/loop*/loop/backing_file; do if [ -e $f ] && grep -q strata-scratch $f; then echo "loop device of $(cat $f)"; fi; done
for d in btrfs loop small; do
	if [ -d /var/lib/strata/disks/$d/.strata-scratch ]; then find /var/lib/strata/disks/$d/.strata-scratch -mindepth 1 -maxdepth 1 | sed 's/^/on the disk: /'; fi
done
if [ -d /var/lib/strata/node/scratch ]; then find /var/lib/strata/node/scratch -name 'volume-*' | sed 's/^/record /'; fi
true
`

// checkNothingLeft is nil when, after all tests, nothing of a volume is anywhere.
func (c *cluster) checkNothingLeft(ctx context.Context) error {
	say("looking for what is left")
	err := c.wait(ctx, "nothing is left in Kubernetes", patience, func(ctx context.Context) error {
		volumes, err := c.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, v := range volumes.Items {
			if v.Spec.CSI != nil && v.Spec.CSI.Driver == driverName {
				return fmt.Errorf("volume %s is still there, %s", v.Name, v.Status.Phase)
			}
		}
		return c.noSnapshots(ctx, "")
	})
	for _, node := range c.nodes {
		err = errors.Join(err, c.wait(ctx, "nothing is left on "+node, time.Minute, func(ctx context.Context) error {
			left, err := c.machine.onNode(ctx, node, leftOnNode)
			if err == nil && strings.TrimSpace(left) != "" {
				err = errors.New(strings.TrimSpace(left))
			}
			return err
		}))
	}
	groups, cerr := c.names("fs", "subvolumegroup", "ls", "warm")
	err = errors.Join(err, cerr)
	for _, g := range groups {
		namespace, ours := strings.CutPrefix(g, namePrefix+".")
		if !ours {
			continue
		}
		left, cerr := c.subvolumes(namespace)
		if err = errors.Join(err, cerr); len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("ceph: group %s has %v", g, left))
		}
	}
	return errors.Join(err, c.store.nothingStored(ctx))
}

// mountsOn are the mounts on a node whose path or source names one of the words.
func (s *space) mountsOn(node string, words ...string) []string {
	s.Helper()
	out, err := k.machine.onNode(s.ctx, node, "cat /proc/self/mountinfo")
	if err != nil {
		s.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(out) {
		for _, w := range words {
			if strings.Contains(line, w) {
				found = append(found, strings.Fields(line)[4])
				break
			}
		}
	}
	return found
}

// records are the names of the scratch volumes' records in the journal of a node.
func (s *space) records(node string) string {
	s.Helper()
	out, err := k.machine.onNode(s.ctx, node, "cat /var/lib/strata/node/scratch/volume-*.json 2>/dev/null || true")
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// unmounted waits until nothing on a node is mounted whose path has one of the words: a pod's UID, a volume's name.
func (s *space) unmounted(node string, words ...string) {
	s.Helper()
	s.wait("nothing of it is mounted on "+node, patience, func(context.Context) error {
		if found := s.mountsOn(node, words...); len(found) > 0 {
			return fmt.Errorf("still mounted: %v", found)
		}
		if records := s.records(node); containsAny(records, words) {
			return fmt.Errorf("still in the journal: %s", records)
		}
		return nil
	})
}

func containsAny(text string, words []string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}
