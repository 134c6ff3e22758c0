package scratch

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/tests/harness"
)

// operation is one request that is interrupted at every failpoint on its way.
type operation struct {
	name    string
	prepare func(t *testing.T, n *harness.ScratchNode)
	call    func(t *testing.T, n *harness.ScratchNode) error
	undo    func(t *testing.T, n *harness.ScratchNode) error
	block   bool // asks for a raw block device
	grows   bool // leaves a record of the size
}

var operations = []operation{
	{
		name:    "publish",
		prepare: func(*testing.T, *harness.ScratchNode) {},
		call: func(t *testing.T, n *harness.ScratchNode) error {
			_, err := n.NodePublishVolume(call(t), n.InlineRequest("uid-1", "tmp"))
			return err
		},
		undo: unpublish,
	},
	{
		name:    "unpublish",
		prepare: func(t *testing.T, n *harness.ScratchNode) { publish(t, n, n.InlineRequest("uid-1", "tmp")) },
		call:    unpublish,
		undo:    unpublish,
	},
	{
		name:    "stage",
		prepare: func(*testing.T, *harness.ScratchNode) {},
		call:    stage,
		undo:    unstage,
	},
	{
		name:    "unstage",
		prepare: func(t *testing.T, n *harness.ScratchNode) { must(t, stage(t, n)) },
		call:    unstage,
		undo:    unstage,
	},
	{
		name:    "publish staged",
		prepare: func(t *testing.T, n *harness.ScratchNode) { must(t, stage(t, n)) },
		call:    publishStaged,
		undo:    unpublishStaged,
	},
	{
		name: "unpublish staged",
		prepare: func(t *testing.T, n *harness.ScratchNode) {
			must(t, stage(t, n))
			must(t, publishStaged(t, n))
		},
		call: func(t *testing.T, n *harness.ScratchNode) error {
			return n.Unpublish(call(t), "scratch:default:claim", n.Target("uid-2", "claim"))
		},
		undo: unpublishStaged,
	},
	{
		name:    "stage block",
		prepare: func(*testing.T, *harness.ScratchNode) {},
		call:    stageBlock,
		undo:    unstage,
		block:   true,
	},
	{
		name: "expand",
		prepare: func(t *testing.T, n *harness.ScratchNode) {
			_, err := n.NodeStageVolume(call(t), n.StageRequest("grows", "claim", 300*mib))
			must(t, err)
		},
		call: func(t *testing.T, n *harness.ScratchNode) error {
			_, err := n.NodeExpandVolume(call(t), &csi.NodeExpandVolumeRequest{VolumeId: "scratch:grows:claim", VolumePath: n.Staging("claim"),
				StagingTargetPath: n.Staging("claim"), CapacityRange: &csi.CapacityRange{RequiredBytes: 400 * mib}})
			return err
		},
		undo:  func(t *testing.T, n *harness.ScratchNode) error { return n.Unstage(call(t), "grows", "claim") },
		grows: true,
	},
}

func unpublish(t *testing.T, n *harness.ScratchNode) error {
	return n.Unpublish(call(t), harness.InlineID("uid-1", "tmp"), n.Target("uid-1", "tmp"))
}

func stage(t *testing.T, n *harness.ScratchNode) error {
	_, err := n.NodeStageVolume(call(t), n.StageRequest("default", "claim", 64*mib))
	return err
}

func publishStaged(t *testing.T, n *harness.ScratchNode) error {
	r, target := n.StageRequest("default", "claim", 64*mib), n.Target("uid-2", "claim")
	must(t, os.MkdirAll(filepath.Dir(target), 0o750))
	_, err := n.NodePublishVolume(call(t), &csi.NodePublishVolumeRequest{VolumeId: r.GetVolumeId(), StagingTargetPath: r.GetStagingTargetPath(),
		TargetPath: target, VolumeCapability: r.GetVolumeCapability(), VolumeContext: r.GetVolumeContext()})
	return err
}

func unpublishStaged(t *testing.T, n *harness.ScratchNode) error {
	if err := n.Unpublish(call(t), "scratch:default:claim", n.Target("uid-2", "claim")); err != nil {
		return err
	}
	return unstage(t, n)
}

func stageBlock(t *testing.T, n *harness.ScratchNode) error {
	r := n.StageRequest("default", "claim", 64*mib)
	r.VolumeCapability = &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: r.GetVolumeCapability().GetAccessMode()}
	_, err := n.NodeStageVolume(call(t), r)
	return err
}

func unstage(t *testing.T, n *harness.ScratchNode) error {
	return n.Unstage(call(t), "default", "claim")
}

// TestRequestsSurviveTheDeathOfTheNode kills strata-node at every failpoint that a request passes. The request is then either repeated, and
// must succeed, or given up and undone, as kubelet does when the pod is deleted meanwhile; afterwards nothing is left. A failpoint
// that no request passes is a failure.
func TestRequestsSurviveTheDeathOfTheNode(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: kind})
		passed := map[string]bool{}
		run := func(name string, row func(t *testing.T)) {
			if !t.Run(name, row) {
				t.Fatal("the rows after this one would start from what it left")
			}
		}
		for _, point := range n.AtStart() {
			run("start/"+point, func(t *testing.T) {
				n.Kill()
				n.StartUntil(point)
				n.Start("")
				nothingLeft(t, n)
			})
		}
		for _, op := range operations {
			if op.block && kind == "btrfs" {
				continue // it has no block devices; TestBlockIsRefused
			}
			for _, point := range points(t, n, op) {
				// How a record is written is the same in every request; pkg/journal has a test of its own.
				if passed[point] && strings.HasPrefix(point, "journal/") {
					continue
				}
				passed[point] = true
				run(op.name+"/"+point+"/repeated", func(t *testing.T) { row(t, n, op, point, true) })
				run(op.name+"/"+point+"/given up", func(t *testing.T) { row(t, n, op, point, false) })
			}
		}
		for _, point := range failpoints(t, kind) {
			if !passed[point] && (kind != "btrfs" || !notOfBtrfs[point]) {
				t.Errorf("no request passes failpoint %s", point)
			}
		}
	})
}

// notOfBtrfs are the steps of other kinds: it has no block devices, and mounts a volume at its path in one step.
var notOfBtrfs = map[string]bool{"scratch/volume/after-attach": true, "scratch/volume/after-mount": true, "scratch/volume/after-bind": true}

// points are the failpoints that a request passes.
func points(t *testing.T, n *harness.ScratchNode, op operation) []string {
	t.Helper()
	op.prepare(t, n)
	n.Passed()
	must(t, op.call(t, n))
	names := n.Passed()
	must(t, op.undo(t, n))
	clean(t, n, op)
	return names
}

// row is one crash. The node runs before and after it.
func row(t *testing.T, n *harness.ScratchNode, op operation, point string, repeat bool) {
	op.prepare(t, n)
	n.Kill()
	n.Start(point)
	if err := op.call(t, n); status.Code(err) != codes.Unavailable {
		t.Fatalf("the call ended with %v before the failpoint", err)
	}
	n.Died()
	n.Start("")
	if repeat {
		must(t, op.call(t, n))
		must(t, op.call(t, n))
	}
	must(t, op.undo(t, n))
	clean(t, n, op)
}

func clean(t *testing.T, n *harness.ScratchNode, op operation) {
	t.Helper()
	left := slices.DeleteFunc(n.Left(), func(s string) bool { return op.grows && strings.Contains(s, "record grown-") })
	if len(left) > 0 {
		t.Errorf("left over:\n%s", strings.Join(left, "\n"))
	}
	if op.grows {
		n.Kill()
		grown, err := filepath.Glob(filepath.Join(n.StateDir(), "scratch", "grown-*"))
		must(t, err)
		for _, g := range grown {
			must(t, os.Remove(g))
		}
		n.Start("")
	}
}

var hit = regexp.MustCompile(`failpoint\.Hit\("([^"]+)"\)`)

// failpoints are those of the services' part and of one kind of disk, as the source names them.
func failpoints(t *testing.T, kind string) []string {
	t.Helper()
	root, err := harness.Root()
	must(t, err)
	var names []string
	for _, dir := range []string{"pkg/node", "pkg/scratch", "pkg/scratch/" + kind} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		must(t, err)
		for _, f := range files {
			text, err := os.ReadFile(f)
			must(t, err)
			for _, m := range hit.FindAllStringSubmatch(string(text), -1) {
				if !slices.Contains(names, m[1]) && !strings.HasPrefix(m[1], "scratch/reaper/") {
					names = append(names, m[1])
				}
			}
		}
	}
	if len(names) < 10 {
		t.Fatalf("found %d failpoints only: %v", len(names), names)
	}
	return names
}

func TestBlockIsRefused(t *testing.T) {
	n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: "btrfs"})
	if err := stageBlock(t, n); status.Code(err) != codes.InvalidArgument && status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
	nothingLeft(t, n)
}
