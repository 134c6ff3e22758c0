//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A claim grows while a pod has it mounted, and the pod can use the room at once.
func TestExpandWhileMounted(t *testing.T) {
	t.Parallel()
	for name, class := range map[string]string{"warm": warm, "scratch-btrfs": scratch, "scratch-loop": scratchLoop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			s.claim("data", class, "320Mi", corev1.ReadWriteOnce)
			p := s.run("writer", "", claimed("data", "/data"))
			p.sh("dd if=/dev/zero of=/data/first bs=1M count=200 2>&1")
			p.fails("dd if=/dev/zero of=/data/second bs=1M count=300 2>&1; r=$?; rm -f /data/second; exit $r", "No space left on device", "quota exceeded")
			s.grow("data", "800Mi")
			p.sh("dd if=/dev/zero of=/data/second bs=1M count=300 2>&1")
			p.fails("dd if=/dev/zero of=/data/third bs=1M count=800 2>&1", "No space left on device", "quota exceeded")
		})
	}
}

// grow asks for more of a claim and waits until it has it.
func (s *space) grow(claim, size string) {
	s.Helper()
	patch := fmt.Sprintf(`{"spec":{"resources":{"requests":{"storage":%q}}}}`, size)
	if err := k.mergePatch(s.ctx, s.name, newObject("PersistentVolumeClaim", claim), patch); err != nil {
		s.Fatal(err)
	}
	want := resource.MustParse(size)
	s.wait("claim "+claim+" has "+size, patience, func(ctx context.Context) error {
		c, err := k.client.CoreV1().PersistentVolumeClaims(s.name).Get(ctx, claim, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if has := c.Status.Capacity[corev1.ResourceStorage]; has.Cmp(want) < 0 {
			return fmt.Errorf("it has %s, %v; %s", has.String(), c.Status.Conditions, k.lastEvent(ctx, s.name, claim))
		}
		return nil
	})
}
