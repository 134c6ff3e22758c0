package crash

// The requests of the rows, and what prepares and undoes them.

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/strata-csi/strata/tests/harness"
)

const mib = int64(1) << 20

func snapshotCall(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
	resp, err := c.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: s.name, SourceVolumeId: s.volume.GetVolumeId()})
	if err != nil {
		return err
	}
	s.taken = resp.GetSnapshot()
	answer := proto.Clone(resp).(*csi.CreateSnapshotResponse)
	if at := answer.GetSnapshot().GetCreationTime(); time.Since(at.AsTime()).Abs() > time.Hour {
		s.t.Errorf("creation time %s", at.AsTime())
	}
	answer.Snapshot.CreationTime = &timestamppb.Timestamp{}
	s.answered(answer)
	return nil
}

func deleteCall(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
	_, err := c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: s.volume.GetVolumeId()})
	return err
}

// request asks for the subject's volume, with every attribute that is made after the subvolume.
func (s *subject) request(from *csi.VolumeContentSource) *csi.CreateVolumeRequest {
	req := harness.Request(s.name, 128*mib, "team", s.team, "maxFiles", "5000", "stripeUnit", "1Mi", "stripeCount", "2", "objectSize", "8Mi")
	req.VolumeContentSource = from
	return req
}

// own asks for a volume with an identity of its own.
func (s *subject) own(req *csi.CreateVolumeRequest) *csi.CreateVolumeRequest {
	req.Parameters["identity"] = "volume"
	req.Parameters["csi.storage.k8s.io/pv/name"] = s.name
	return req
}

func (s *subject) readOnly(snap *csi.Snapshot) *csi.CreateVolumeRequest {
	req := s.request(fromSnapshot(snap))
	req.CapacityRange = nil
	req.VolumeCapabilities = harness.Capabilities(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)
	return req
}

func fromSnapshot(s *csi.Snapshot) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: s.GetSnapshotId()}}}
}

func fromVolume(v *csi.Volume) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: v.GetVolumeId()}}}
}

func (s *subject) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// answered keeps the answer for the comparison.
func (s *subject) answered(m proto.Message) {
	// The text form has its spaces at random, so that nobody takes it for stable.
	s.note("answer %s", strings.Join(strings.Fields(prototext.Format(m)), " "))
}

// made keeps the volume that a CreateVolume answered with.
func (s *subject) made(resp *csi.CreateVolumeResponse, err error) error {
	if err != nil {
		return err
	}
	s.volume = resp.GetVolume()
	s.answered(resp)
	return nil
}

func (r *run) create(s *subject, name string, from *csi.VolumeContentSource) *csi.Volume {
	s.t.Helper()
	req := harness.Request(name, 64*mib, "team", s.team)
	req.VolumeContentSource = from
	var v *csi.Volume
	s.retry("CreateVolume of "+name, func() error {
		resp, err := r.other.CreateVolume(call(s.t), req)
		v = resp.GetVolume()
		return err
	})
	return v
}

func (r *run) snapshot(s *subject, name string, of *csi.Volume) *csi.Snapshot {
	s.t.Helper()
	var taken *csi.Snapshot
	s.retry("CreateSnapshot of "+name, func() error {
		resp, err := r.other.CreateSnapshot(call(s.t), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: of.GetVolumeId()})
		taken = resp.GetSnapshot()
		return err
	})
	return taken
}

func (r *run) deleteVolume(s *subject) {
	s.t.Helper()
	s.retry("DeleteVolume", func() error { return deleteCall(call(s.t), r.other, r, s) })
}

func (r *run) deleteSnapshot(s *subject) {
	s.t.Helper()
	s.retry("DeleteSnapshot", func() error {
		_, err := r.other.DeleteSnapshot(call(s.t), &csi.DeleteSnapshotRequest{SnapshotId: s.taken.GetSnapshotId()})
		return err
	})
}

func (r *run) deleteBoth(s *subject) {
	s.t.Helper()
	r.deleteSnapshot(s)
	r.deleteVolume(s)
}

// deleteByName deletes the volume of a request that never answered: its id is made of names that are known.
func (r *run) deleteByName(s *subject) error {
	s.volume = &csi.Volume{VolumeId: r.id(s)}
	return deleteCall(call(s.t), r.other, r, s)
}

// group is the subject's subvolume group, base the directory of its volume below the root mount.
func (r *run) group(s *subject) string { return string(r.prefix) + "." + s.team }
func (r *run) base(s *subject) string  { return path.Join(r.root, "volumes", r.group(s), s.name) }

// id is the id that the subject's volume gets.
func (r *run) id(s *subject) string {
	return strings.Join([]string{"warm", harness.ClusterID, harness.FS, r.group(s), s.name}, ":")
}
