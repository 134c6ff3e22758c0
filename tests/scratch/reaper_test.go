package scratch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/tests/harness"
)

// grace is that of the nodes here: short, and long enough that what must be spared would be seen to go.
const grace = "grace: 2s\n"

func gone(t *testing.T, n *harness.ScratchNode) {
	t.Helper()
	harness.Eventually(t, "nothing is left", harness.Patience, func() error {
		if left := n.Left(); len(left) > 0 {
			return errors.New(left[0])
		}
		return nil
	})
}

func TestAfterAStartOfTheMachine(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: kind, Config: grace, ReapEvery: 500 * time.Millisecond})
		again := n.InlineRequest("uid-again", "tmp", "size", "64Mi")
		deleted := n.InlineRequest("uid-deleted", "tmp", "size", "64Mi")
		publish(t, n, again)
		publish(t, n, deleted)
		must(t, os.WriteFile(filepath.Join(again.GetTargetPath(), "old"), nil, 0o600))
		n.Reboot("another-boot")
		publish(t, n, again) // kubelet asks again for the pods that live
		if _, err := os.Stat(filepath.Join(again.GetTargetPath(), "old")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("not empty after a start of the machine: %v", err)
		}
		must(t, os.WriteFile(filepath.Join(again.GetTargetPath(), "new"), nil, 0o600))
		// The other pod was deleted meanwhile, and kubelet has kept its directory (kubernetes#127229).
		harness.Eventually(t, "the deleted pod's volume goes", harness.Patience, func() error {
			if _, err := os.Lstat(deleted.GetTargetPath()); !errors.Is(err, os.ErrNotExist) {
				return errors.New("its target is there")
			}
			return nil
		})
		if _, err := os.Stat(filepath.Join(again.GetTargetPath(), "new")); err != nil {
			t.Errorf("the living pod's volume: %v", err)
		}
		must(t, n.Unpublish(call(t), again.GetVolumeId(), again.GetTargetPath()))
		gone(t, n)
	})
}

func TestAPodDeletedWhileTheNodeWasDown(t *testing.T) {
	n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: "loop", Config: grace, ReapEvery: 500 * time.Millisecond})
	r := n.InlineRequest("uid-1", "tmp")
	publish(t, n, r)
	n.Kill()
	n.LoseMounts()
	must(t, os.RemoveAll(filepath.Join(n.KubeletDir(), "pods", "uid-1")))
	t.Run("isn't taken for deleted while nobody knows which pods live", func(t *testing.T) {
		aside := n.KubeletDir() + ".aside"
		must(t, os.Rename(n.KubeletDir(), aside))
		n.Start("")
		harness.Eventually(t, "the reaper has looked for longer than the grace", harness.Patience, func() error {
			if looks := strings.Count(n.Log(), "it isn't known which pods live"); looks < 8 {
				return fmt.Errorf("%d looks", looks)
			}
			return nil
		})
		if len(n.Left()) == 0 {
			t.Error("the volume was destroyed without knowing which pods live")
		}
		must(t, os.Rename(aside, n.KubeletDir()))
	})
	gone(t, n)
}
