// Package sanity runs the upstream conformance suite, csi-sanity, against the real programs on a real Ceph: every spec, and a spec that
// doesn't run is one of skips.txt, where its reason stands.
package sanity

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"github.com/strata-csi/strata/tests/harness"
)

//go:embed skips.txt
var skips string

// warm is filled in by TestSanity, before the specs run.
var warm = sanity.NewTestConfig()

var _ = ginkgo.Describe("tier=warm", func() { sanity.GinkgoTest(&warm) })

var _ = ginkgo.ReportAfterSuite("what was skipped", func(report ginkgo.Report) {
	var ran int
	var skipped []string
	for _, s := range report.SpecReports {
		switch {
		case s.LeafNodeType != types.NodeTypeIt:
		case s.State.Is(types.SpecStateSkipped | types.SpecStatePending):
			skipped = append(skipped, s.FullText())
		default:
			ran++
		}
	}
	fmt.Printf("csi-sanity: %d specs ran, %d skipped\n", ran, len(skipped))
	slices.Sort(skipped)
	gomega.Expect(skipped).To(gomega.Equal(expected()), "the skipped specs are not those of skips.txt")
})

// expected are the specs of skips.txt: one a line, a tab, and the reason.
func expected() []string {
	var out []string
	for line := range strings.Lines(skips) {
		if spec, reason, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok && reason != "" {
			out = append(out, spec)
		}
	}
	slices.Sort(out)
	return out
}

func TestSanity(t *testing.T) {
	ceph := harness.NewCeph(t)
	controller := harness.NewController(t, ceph, harness.ControllerOptions{})
	node := harness.NewNode(t, ceph, "node-sanity")
	secrets, err := yaml.Marshal(map[string]map[string]string{
		"NodeStageVolumeSecret": node.Secrets, "NodePublishVolumeSecret": node.Secrets,
	})
	if err != nil {
		t.Fatal(err)
	}
	warm.SecretsFile = filepath.Join(t.TempDir(), "secrets.yaml")
	if err := os.WriteFile(warm.SecretsFile, secrets, 0o600); err != nil {
		t.Fatal(err)
	}
	warm.Address, warm.ControllerAddress = "unix://"+node.Socket, "unix://"+controller.Socket
	warm.TargetPath, warm.StagingPath = filepath.Join(node.Dir, "mnt"), filepath.Join(node.Dir, "stage")
	warm.TestVolumeParameters = harness.Parameters()
	warm.TestVolumeSize, warm.TestVolumeExpandSize = 64<<20, 128<<20
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.RandomizeAllSpecs = false
	ginkgo.RunSpecs(t, "csi-sanity", suite, reporter)
	// A volume that is deleted before its last snapshot goes when Ceph has purged it.
	harness.Eventually(t, "no subvolume is left over", harness.Patience, func() error {
		if left := ceph.Subvolumes(t, controller.Prefix); len(left) > 0 {
			return fmt.Errorf("there are %v", left)
		}
		return nil
	})
	if left := node.Mounts(); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
}
