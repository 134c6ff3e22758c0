//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// work writes, syncs and reads again, for ever, in every directory that it is given, and appends to a file that it keeps open. What goes
// wrong is in /tmp/errors, how far it came in /tmp/rounds.
const work = `
trap 'exit 0' TERM
mkdir -p /tmp && : > /tmp/errors
round=0
i=3
for d in "$@"; do eval "exec $i>>$d/log.$HOSTNAME"; i=$((i+1)); done
while :; do
	round=$((round+1))
	i=3
	for d in "$@"; do
		f=$d/file.$HOSTNAME.$((round%8))
		wrote=$(head -c 262144 /dev/urandom | tee $f 2>>/tmp/errors | sha256sum) || echo "round $round: writing $f failed" >> /tmp/errors
		dd if=/dev/null of=$f conv=notrunc,fsync 2>/tmp/dd || echo "round $round: fsync of $f failed: $(cat /tmp/dd)" >> /tmp/errors
		got=$(sha256sum < $f 2>>/tmp/errors) || echo "round $round: reading $f failed" >> /tmp/errors
		[ "$wrote" = "$got" ] || echo "round $round: $f has $got, and $wrote was written" >> /tmp/errors
		eval "echo $round >&$i" 2>>/tmp/errors || echo "round $round: appending to the log in $d failed" >> /tmp/errors
		i=$((i+1))
	done
	echo $round > /tmp/rounds
	sleep 0.1
done
`

// busy is a pod that works in its volumes.
type busy struct{ *running }

// busyPod starts a pod that works in all its volumes.
func (s *space) busyPod(name, node string, mounts ...mount) busy {
	s.Helper()
	p := s.pod(name, node, mounts...)
	p.Spec.Containers[0].Command = []string{"sh", "-c", work, "work"}
	for _, m := range mounts {
		p.Spec.Containers[0].Args = append(p.Spec.Containers[0].Args, m.at)
	}
	return busy{s.start(p)}
}

// goesOn waits until the pod has come n rounds further, and fails on any error that it had since its start.
func (b busy) goesOn(n int) {
	b.s.Helper()
	var from int
	first := true
	b.s.wait(fmt.Sprintf("pod %s works %d rounds further", b.name, n), patience, func(context.Context) error {
		text, err := b.try("cat /tmp/errors && cat /tmp/rounds")
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if len(lines) > 1 {
			return hopeless{errors.New(text)}
		}
		rounds, err := strconv.Atoi(lines[0])
		if err != nil {
			return err
		}
		if first {
			from, first = rounds, false
		}
		if rounds < from+n {
			return fmt.Errorf("it is at round %d, and began with %d", rounds, from)
		}
		return nil
	})
}

// allKinds are volumes of every kind for one pod, of claims that are made here. The claim of the generic one is POD-v1.
func (s *space) allKinds(suffix string) []mount {
	s.Helper()
	s.claim("warm-"+suffix, warm, "1Gi", corev1.ReadWriteMany)
	s.claim("cold-"+suffix, cold, "1Gi", corev1.ReadWriteMany)
	return []mount{
		claimed("warm-"+suffix, "/warm"), generic(scratch, "100Mi", "/generic"), inline("default", "100Mi", "/btrfs"), inline("loop", "320Mi", "/loop"),
		claimed("cold-"+suffix, "/cold"),
	}
}
