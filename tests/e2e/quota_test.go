//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// A volume that is full says so to the pod, and to whoever looks at kubelet's metrics; room that is made can be used.
func TestQuotaReached(t *testing.T) {
	t.Parallel()
	for name, class := range map[string]string{"warm": warm, "scratch": scratchLoop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			s.claim("data", class, "320Mi", corev1.ReadWriteOnce)
			p := s.run("writer", "", claimed("data", "/data"))
			full := "quota exceeded"
			if name == "scratch" {
				full = "No space left on device"
			}
			p.fails("dd if=/dev/zero of=/data/file bs=1M count=1000 2>&1", full)
			s.wait("kubelet's metrics show a full volume", patience, func(ctx context.Context) error {
				capacity, err := k.volumeMetric(ctx, p.node, "kubelet_volume_stats_capacity_bytes", s.name, "data")
				if err != nil {
					return err
				}
				used, err := k.volumeMetric(ctx, p.node, "kubelet_volume_stats_used_bytes", s.name, "data")
				if err != nil {
					return err
				}
				if capacity < 250<<20 || capacity > 324<<20 {
					return hopeless{fmt.Errorf("the capacity is %.0f; 320Mi were asked for", capacity)}
				}
				if used < 0.97*capacity {
					return fmt.Errorf("used are %.0f of %.0f bytes", used, capacity)
				}
				return nil
			})
			p.sh("rm /data/file && dd if=/dev/zero of=/data/again bs=1M count=100 2>&1")
		})
	}
}

// volumeMetric reads a metric of a claim from the kubelet of a node.
func (c *cluster) volumeMetric(ctx context.Context, node, metric, namespace, claim string) (float64, error) {
	text, err := c.client.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	line := regexp.MustCompile(`(?m)^` + metric + `\{namespace="` + namespace + `",persistentvolumeclaim="` + claim + `"\} (\S+)$`)
	m := line.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("kubelet of %s has no %s of claim %s; it has %d lines", node, metric, claim, strings.Count(string(text), "\n"))
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
