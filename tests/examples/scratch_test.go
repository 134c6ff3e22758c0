package examples

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/strata-csi/strata/pkg/identity"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/inline"
	"github.com/strata-csi/strata/pkg/scratch/provisioner"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

func scratchController() *provisioner.Provisioner { return provisioner.New(nil) }

func scratchConfig(t *testing.T) config.Config {
	t.Helper()
	c, err := config.Load("../../deploy/scratch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// inlineOf is the request that kubelet makes of a pod's own volume.
func inlineOf(v podVolume) tier.InlineSpec {
	const uid = "8f4c5a1e-1111-2222-3333-444444444444"
	return tier.InlineSpec{
		ID: inline.ID(uid, v.Name), Path: fmt.Sprintf("/var/lib/kubelet/pods/%s/volumes/kubernetes.io~csi/%s/mount", uid, v.Name),
		Attributes: v.CSI.VolumeAttributes, Pod: tier.Pod{Name: "pod", Namespace: "default", UID: uid}, FSType: v.CSI.FSType, ReadOnly: v.CSI.ReadOnly,
	}
}

func TestPodsOwnVolumesAreAccepted(t *testing.T) {
	c := scratchConfig(t)
	checked := 0
	check := func(where string, v podVolume) {
		if v.CSI == nil {
			return
		}
		checked++
		if v.CSI.Driver != identity.DriverName {
			t.Errorf("%s: volume %s is of driver %q", where, v.Name, v.CSI.Driver)
		}
		if _, err := inline.Parse(inlineOf(v), c); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
	for file, all := range all(t) {
		for _, o := range all {
			for _, v := range o.volumes() {
				check(file, v)
			}
		}
	}
	if checked == 0 {
		t.Error("no example has a volume of a pod's own")
	}
	checked = 0
	for _, document := range fenced(t, "../../README.md") {
		var o struct {
			Volumes []podVolume `json:"volumes"`
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Errorf("README.md: %v:\n%s", err, document)
		}
		for _, v := range o.Volumes {
			check("README.md", v)
		}
	}
	if checked == 0 {
		t.Error("README.md has no volume of a pod's own")
	}
}

// fenced returns the blocks of YAML in a document.
func fenced(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// What a StorageClass of tier scratch and its claims ask for is what nodes with the configuration in deploy/ can give.
func TestScratchClaimsAreAccepted(t *testing.T) {
	nodes := scratchConfig(t)
	checked := 0
	for file, all := range all(t) {
		classes := map[string]object{}
		for _, o := range slices.Concat(all, chart(t, "storageclasses.yaml")) {
			if o.Kind == "StorageClass" && o.Parameters["tier"] == string(volume.Scratch) {
				classes[o.Metadata.Name] = o
				if o.VolumeBindingMode != "WaitForFirstConsumer" {
					t.Errorf("%s: StorageClass %s has volumeBindingMode %q: a claim would be bound to a node before its pod is", file, o.Metadata.Name, o.VolumeBindingMode)
				}
			}
		}
		for what, c := range claims(all) {
			o, ok := classes[c.StorageClassName]
			if !ok {
				continue
			}
			checked++
			where := file + ": " + what
			size, err := config.ParseSize(c.Resources.Requests.Storage)
			if err != nil {
				t.Errorf("%s: %v", where, err)
				continue
			}
			v, err := scratchController().Create(t.Context(), volume.Spec{
				Name: "pvc-" + c.StorageClassName, Parameters: own(o.Parameters), Capacity: volume.CapacityRange{Required: size},
				Access: volume.Access{MultiNode: !slices.Equal(c.AccessModes, []string{"ReadWriteOnce"}), Block: c.VolumeMode == "Block"},
			})
			if err != nil {
				t.Errorf("%s: %v", where, err)
				continue
			}
			i := slices.IndexFunc(nodes.Classes, func(n config.Class) bool { return n.Name == v.Context[provisioner.ParameterClass] })
			if i < 0 {
				t.Errorf("%s: nodes have no class %q", where, v.Context[provisioner.ParameterClass])
			} else if most := nodes.Classes[i].MaxSize; most > 0 && v.Capacity > most {
				t.Errorf("%s: %d bytes, and class %s allows %d", where, v.Capacity, nodes.Classes[i].Name, most)
			}
		}
	}
	if checked == 0 {
		t.Error("no example has a claim of tier scratch")
	}
}

// Every flag of the programs stands in docs/parameters.md.
func TestFlagsAreDocumented(t *testing.T) {
	parameters, err := os.ReadFile("../../docs/parameters.md")
	if err != nil {
		t.Fatal(err)
	}
	flag := regexp.MustCompile(`flags\.\w+\((?:&[\w.]+, )?"([a-z-]+)"`)
	for _, program := range []string{"strata-node", "strata-mountd", "strata-controller"} {
		source, err := os.ReadFile("../../cmd/" + program + "/main.go")
		if err != nil {
			t.Fatal(err)
		}
		found := flag.FindAllSubmatch(source, -1)
		if len(found) < 5 {
			t.Errorf("only %d flags of %s were found", len(found), program)
		}
		for _, m := range found {
			if !regexp.MustCompile("`--" + string(m[1]) + "`").Match(parameters) {
				t.Errorf("flag --%s of %s isn't in docs/parameters.md", m[1], program)
			}
		}
	}
}

// Every reason of volume health stands in docs/operations.md.
func TestReasonsOfHealthAreDocumented(t *testing.T) {
	operations, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../pkg/scratch/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	reason := regexp.MustCompile(`(?:(?:say|add)\(volume\.\w+, |Reason\w* *[:=] +)"(\w+)"`)
	found := 0
	for _, file := range append(files, "../../pkg/scratch/health.go") {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range reason.FindAllSubmatch(source, -1) {
			found++
			if !regexp.MustCompile(`\b` + string(m[1]) + `\b`).Match(operations) {
				t.Errorf("%s: %s isn't in docs/operations.md", file, m[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d reasons were found", found)
	}
}
