// Package cold runs the upstream conformance suite, csi-sanity, against a controller and a node that serve tier cold alone, on a real S3 server: with volumes that are
// prefixes of a bucket, and with a bucket for each. A spec that doesn't run is one of skips.txt, where its reason stands.
package cold

import (
	_ "embed"
	"fmt"
	"maps"
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

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/tests/harness"
)

//go:embed skips.txt
var skips string

// subject is one way to use the tier; its configuration is filled in before the specs run.
type subject struct {
	name       string
	parameters map[string]string // besides those of the harness
	config     sanity.TestConfig
}

var subjects = []*subject{
	{name: "tier=cold prefix"},
	{name: "tier=cold bucket", parameters: map[string]string{"bucketPerVolume": "true"}},
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
	server := s3test.Start(t)
	bucket := server.Open(t, server.Endpoint, "sanity", s3.Options{})
	if err := bucket.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	secrets := map[string]map[string]string{}
	for _, call := range []string{"CreateVolume", "DeleteVolume", "ControllerValidateVolumeCapabilities", "ControllerExpandVolume", "NodeStageVolume", "NodePublishVolume"} {
		secrets[call+"Secret"] = harness.ColdSecrets(server)
	}
	text, err := yaml.Marshal(secrets)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secrets.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	controller := harness.NewColdController(t, server, "sanity")
	var nodes []*harness.Node
	for i, s := range subjects {
		node := harness.NewColdNode(t, server, fmt.Sprintf("node-%d", i))
		nodes = append(nodes, node)
		s.config.Address, s.config.ControllerAddress = "unix://"+node.Socket, "unix://"+controller.Socket
		s.config.TargetPath, s.config.StagingPath = filepath.Join(node.Dir, "mnt"), filepath.Join(node.Dir, "stage")
		s.config.SecretsFile = file
		s.config.TestVolumeParameters = maps.Clone(controller.Parameters)
		maps.Copy(s.config.TestVolumeParameters, s.parameters)
		s.config.TestVolumeSize, s.config.TestVolumeExpandSize = 64<<20, 128<<20
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.RandomizeAllSpecs = false
	ginkgo.RunSpecs(t, "csi-sanity", suite, reporter)
	for _, n := range nodes {
		if m, c := n.Mounts(), n.Clients(); len(m) > 0 || len(c) > 0 {
			t.Errorf("%s: left over: %v, %v", n.ID, m, c)
		}
	}
	page, err := bucket.List(t.Context(), s3.ListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range page.Objects {
		t.Errorf("left over: object %s", o.Key)
	}
	// The server has buckets as directories.
	left, err := os.ReadDir(server.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range left {
		if d.IsDir() && d.Name() != "sanity" && !strings.HasPrefix(d.Name(), ".") {
			t.Errorf("left over: bucket %s", d.Name())
		}
	}
}
