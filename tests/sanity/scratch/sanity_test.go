// Package scratch runs the upstream conformance suite, csi-sanity, against a controller and a node that serve tier scratch alone: with
// mounts on every kind of disk this kernel has, and with raw block devices. A spec that doesn't run is one of skips.txt, where its reason stands.
package scratch

import (
	_ "embed"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"github.com/strata-csi/strata/tests/harness"
)

//go:embed skips.txt
var skips string

// subject is one way to use the tier; its configuration is filled in before the specs run.
type subject struct {
	name, kind, access string
	config             sanity.TestConfig
}

var subjects = []*subject{
	{name: "tier=scratch loop", kind: "loop", access: "mount"},
	{name: "tier=scratch btrfs", kind: "btrfs", access: "mount"},
	{name: "tier=scratch block", kind: "loop", access: "block"},
}

var _ = func() bool {
	for _, s := range subjects {
		s.config = sanity.NewTestConfig()
		ginkgo.Describe(s.name, func() { sanity.GinkgoTest(&s.config) })
	}
	return true
}()

var _ = ginkgo.ReportAfterSuite("what was skipped", func(report ginkgo.Report) {
	ran, times := 0, map[string]int{}
	for _, r := range report.SpecReports {
		switch {
		case r.LeafNodeType != types.NodeTypeIt:
		case r.State.Is(types.SpecStateSkipped | types.SpecStatePending):
			text := r.FullText()
			for _, s := range subjects {
				text = strings.TrimPrefix(text, s.name+" ")
			}
			times[text]++
		default:
			ran++
		}
	}
	skipped := slices.Sorted(maps.Keys(times))
	for _, text := range skipped {
		gomega.Expect(times[text]).To(gomega.Equal(len(subjects)), "not skipped by every subject: "+text)
	}
	fmt.Printf("csi-sanity: %d specs ran, %d skipped by every subject\n", ran, len(skipped))
	gomega.Expect(skipped).To(gomega.Equal(expected()), "the skipped specs are not those of skips.txt")
})

// expected are the specs of skips.txt: one a line, a tab, and the reason. They are those of all subjects alike.
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
	var nodes []*harness.ScratchNode
	for _, s := range subjects {
		node := harness.NewScratchNode(t, harness.ScratchOptions{Kind: s.kind, DiskSize: 4 << 30})
		controller := harness.NewScratchController(t, node.ReportDir())
		nodes = append(nodes, node)
		s.config.Address, s.config.ControllerAddress = "unix://"+node.Socket, "unix://"+controller
		s.config.TargetPath, s.config.StagingPath = filepath.Join(node.KubeletDir(), "mnt"), filepath.Join(node.KubeletDir(), "stage")
		s.config.TestVolumeParameters = map[string]string{"tier": "scratch", "class": "grows"}
		s.config.TestVolumeSize, s.config.TestVolumeExpandSize = 300<<20, 400<<20
		s.config.TestVolumeAccessType = s.access
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.RandomizeAllSpecs = false
	ginkgo.RunSpecs(t, "csi-sanity", suite, reporter)
	for _, n := range nodes {
		left := slices.DeleteFunc(n.Left(), func(s string) bool { return strings.Contains(s, "record grown-") })
		if len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
}
