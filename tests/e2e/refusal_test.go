//go:build e2e

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A class that can't work says so on the claim, with what would cure it.
func TestWrongClassIsExplained(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("no-pool", warmWrong, "1Gi", corev1.ReadWriteMany)
	s.event("no-pool", "ProvisioningFailed", "no-such-pool", "ceph osd pool create")
	// A misspelt parameter, with the right one.
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: s.name}, Provisioner: driverName,
		Parameters: map[string]string{"tier": "warm", "poool": "warm-ec"},
	}
	s.create(class)
	t.Cleanup(func() {
		if err := k.client.StorageV1().StorageClasses().Delete(s.ctx, s.name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	s.claim("misspelt", s.name, "1Gi", corev1.ReadWriteMany)
	s.event("misspelt", "ProvisioningFailed", "poool", `"pool"`)
}
