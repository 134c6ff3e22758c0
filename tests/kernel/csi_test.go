package kernel

// strata-node on a node with the kernel's client, called over its CSI socket from the
// host; the volumes are made by a strata-controller on the host.

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/strata-csi/strata/tests/harness"
	"github.com/strata-csi/strata/tests/kernel/agent"
)

const (
	nodePackage = "github.com/strata-csi/strata/cmd/strata-node"
	nodeName    = "strata-node"
	nodeSocket  = "/run/strata/csi.sock"
)

// csiNode is a machine with strata-node running in it.
type csiNode struct {
	node
	csi.NodeClient
	controller *harness.Controller
}

// start starts strata-node and connects to it.
func (n *csiNode) start(t *testing.T) {
	t.Helper()
	if err := n.Start(t.Context(), nodeName, agent.Command{Args: []string{
		"strata-node", "--endpoint", "unix://" + nodeSocket, "--node-id", "kernel-node", "--v", "5",
	}}); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///guest", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return n.Dial(ctx, nodeSocket) }))
	if err != nil {
		t.Fatal(err)
	}
	n.NodeClient = csi.NewNodeClient(conn)
	harness.Eventually(t, "strata-node answers", harness.Patience, func() error {
		info, err := n.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
		if err == nil && info.GetNodeId() != "kernel-node" {
			t.Fatalf("node id %q", info.GetNodeId())
		}
		return err
	})
}

// csiVolume is a volume and the paths it has on the node.
type csiVolume struct {
	*csi.Volume
	n               *csiNode
	mode            csi.VolumeCapability_AccessMode_Mode
	staging, target string
}

// create makes a volume, which is deleted with the test.
func (n *csiNode) create(t *testing.T, req *csi.CreateVolumeRequest) csiVolume {
	t.Helper()
	resp, err := n.controller.CreateVolume(bounded(t), req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := n.controller.DeleteVolume(bounded(t), &csi.DeleteVolumeRequest{VolumeId: resp.GetVolume().GetVolumeId()}); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
	at := target(t) + "-" + req.GetName()
	n.sh(t, fmt.Sprintf("mkdir -p %s/staging %[1]s/pod", at))
	return csiVolume{Volume: resp.GetVolume(), n: n, mode: req.GetVolumeCapabilities()[0].GetAccessMode().GetMode(),
		staging: at + "/staging", target: at + "/pod/mount"}
}

// bounded bounds one CSI call; it also serves in a cleanup.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (v csiVolume) secrets(t *testing.T) map[string]string {
	return map[string]string{"userID": "strata-node", "userKey": v.n.cluster.Key(t, "strata-node")}
}

func (v csiVolume) stage(t *testing.T) error {
	t.Helper()
	_, err := v.n.NodeStageVolume(bounded(t), &csi.NodeStageVolumeRequest{
		VolumeId: v.GetVolumeId(), StagingTargetPath: v.staging, VolumeContext: v.GetVolumeContext(),
		VolumeCapability: harness.Capability(v.mode), Secrets: v.secrets(t),
	})
	return err
}

func (v csiVolume) publish(t *testing.T, readOnly bool) error {
	t.Helper()
	_, err := v.n.NodePublishVolume(bounded(t), &csi.NodePublishVolumeRequest{
		VolumeId: v.GetVolumeId(), StagingTargetPath: v.staging, TargetPath: v.target, VolumeContext: v.GetVolumeContext(),
		VolumeCapability: harness.Capability(v.mode), Readonly: readOnly,
	})
	return err
}

// use stages and publishes; both are undone with the test.
func (v csiVolume) use(t *testing.T, readOnly bool) {
	t.Helper()
	t.Cleanup(func() {
		if err := v.release(t); err != nil {
			t.Error(err)
		}
	})
	if err := v.stage(t); err != nil {
		t.Fatalf("stage: %v", err)
	}
	if err := v.publish(t, readOnly); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

func (v csiVolume) release(t *testing.T) error {
	if _, err := v.n.NodeUnpublishVolume(bounded(t), &csi.NodeUnpublishVolumeRequest{VolumeId: v.GetVolumeId(), TargetPath: v.target}); err != nil {
		return fmt.Errorf("unpublish: %w", err)
	}
	if _, err := v.n.NodeUnstageVolume(bounded(t), &csi.NodeUnstageVolumeRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: v.staging}); err != nil {
		return fmt.Errorf("unstage: %w", err)
	}
	return nil
}

// fsType is the type of what is mounted at path, empty for nothing.
func (n *csiNode) fsType(t *testing.T, path string) string {
	t.Helper()
	return n.sh(t, "awk '$2 == \""+path+"\" {t = $3} END {print t}' /proc/self/mounts")
}
