package scratch

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/strata-csi/strata/tests/harness"
)

func controller(t *testing.T, n *harness.ScratchNode) csi.ControllerClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+harness.NewScratchController(t, n.ReportDir()), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return csi.NewControllerClient(conn)
}

// The controller knows of inline volumes what the nodes report, and answers per segment.
func TestCapacity(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: kind})
		c := controller(t, n)
		here := &csi.Topology{Segments: map[string]string{"csi.strata.dev/node": n.ID}}
		parameters := map[string]string{"tier": "scratch", "class": "default"}
		ask := func(where *csi.Topology) *csi.GetCapacityResponse {
			t.Helper()
			resp, err := c.GetCapacity(call(t), &csi.GetCapacityRequest{Parameters: parameters, AccessibleTopology: where})
			must(t, err)
			return resp
		}
		before := ask(here)
		if before.GetAvailableCapacity() < 500*mib || before.GetMaximumVolumeSize().GetValue() < 500*mib {
			t.Fatalf("%v", before)
		}
		if all := ask(nil); all.GetAvailableCapacity() != before.GetAvailableCapacity() {
			t.Errorf("everywhere %v, on the only node %v", all, before)
		}
		if none := ask(&csi.Topology{Segments: map[string]string{"csi.strata.dev/node": "another"}}); none.GetAvailableCapacity() != 0 {
			t.Errorf("on a node that isn't there: %v", none)
		}
		r := n.InlineRequest("uid-1", "tmp", "size", "400Mi")
		publish(t, n, r)
		// Half of the volume is the tolerance, here and below: btrfs makes chunks of data and gives unused ones back in its own time, and what
		// no chunk holds counts as what metadata would leave of it. Of a disk of 2 GiB that is about 100 MiB.
		harness.Eventually(t, "the inline volume is counted", harness.Patience, func() error {
			if now := ask(here).GetAvailableCapacity(); now > before.GetAvailableCapacity()-200*mib {
				return fmt.Errorf("%d bytes are available, %d before", now, before.GetAvailableCapacity())
			}
			return nil
		})
		create := func(name string, size int64) (*csi.CreateVolumeResponse, error) {
			return c.CreateVolume(call(t), &csi.CreateVolumeRequest{Name: name, Parameters: parameters, CapacityRange: &csi.CapacityRange{RequiredBytes: size},
				VolumeCapabilities:        []*csi.VolumeCapability{harness.Capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)},
				AccessibilityRequirements: &csi.TopologyRequirement{Preferred: []*csi.Topology{here}, Requisite: []*csi.Topology{here}}})
		}
		_, err := create("too-large", 1<<40)
		wantCode(t, err, codes.ResourceExhausted, "1Ti", n.ID)
		v, err := create("fits", 64*mib)
		must(t, err)
		if top := v.GetVolume().GetAccessibleTopology(); len(top) != 1 || top[0].GetSegments()["csi.strata.dev/node"] != n.ID {
			t.Errorf("%v", v)
		}
		must(t, n.Unpublish(call(t), r.GetVolumeId(), r.GetTargetPath()))
		harness.Eventually(t, "its space is free again", harness.Patience, func() error {
			if now := ask(here).GetAvailableCapacity(); now < before.GetAvailableCapacity()-200*mib {
				return fmt.Errorf("%d bytes are available, %d before", now, before.GetAvailableCapacity())
			}
			return nil
		})
		nothingLeft(t, n)
	})
}

// What a node found is in its log, in its topology and in what --probe prints.
func TestProbe(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		n := harness.NewScratchNode(t, harness.ScratchOptions{Kind: kind})
		info, err := n.NodeGetInfo(call(t), &csi.NodeGetInfoRequest{})
		must(t, err)
		segments := info.GetAccessibleTopology().GetSegments()
		if segments["csi.strata.dev/node"] != n.ID || segments["csi.strata.dev/scratch-"+kind] != "true" {
			t.Errorf("topology %v", segments)
		}
		n.Kill()
		for other, want := range map[string]string{kind: "used", "xfs": "refused"} {
			n.WriteKinds(other)
			out, err := n.Probe(t)
			var exit *exec.ExitError
			if failed := errors.As(err, &exit); failed != (want == "refused") || !strings.Contains(out, want) || !strings.Contains(out, n.Disks[0]) {
				t.Errorf("--probe with kinds [%s] ended with %v:\n%s", other, err, out)
			}
		}
		n.WriteKinds("xfs")
		n.Start("") // serves what it can: nothing of this pool
		if !strings.Contains(n.Log(), "refused: ") {
			t.Error("the log doesn't say why the disk is refused")
		}
		_, err = n.NodePublishVolume(call(t), n.InlineRequest("uid-1", "tmp"))
		wantCode(t, err, codes.FailedPrecondition, "disks", "xfs")
		nothingLeft(t, n)
	})
}
