package rpc

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

const sesame = "open-sesame"

func TestALogShowsNoSecret(t *testing.T) {
	secrets := map[string]string{"userKey": sesame}
	for _, c := range []struct {
		name string
		m    proto.Message
		want []string
	}{
		{"create", &csi.CreateVolumeRequest{Name: "pvc-1", Secrets: secrets, Parameters: map[string]string{"pool": "warm"},
			CapacityRange: &csi.CapacityRange{RequiredBytes: 42}},
			[]string{`"name":"pvc-1"`, `"userKey":"***"`, `"pool":"warm"`, `"required_bytes":42`}},
		{"stage", &csi.NodeStageVolumeRequest{VolumeId: "warm:a", Secrets: secrets,
			VolumeContext: map[string]string{tokensKey: sesame, "fsName": "warm"},
			VolumeCapability: &csi.VolumeCapability{
				AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
				AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: []string{"noatime,secret=" + sesame, "secret=" + sesame}}},
			}},
			[]string{`"volume_id":"warm:a"`, "MULTI_NODE_MULTI_WRITER", `"noatime,secret=***"`, `"fsName":"warm"`}},
		{"a list of messages", &csi.ValidateVolumeCapabilitiesRequest{Secrets: secrets, VolumeCapabilities: []*csi.VolumeCapability{
			{AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}}}},
			[]string{"SINGLE_NODE_WRITER"}},
		{"a huge name", &csi.CreateVolumeRequest{Name: strings.Repeat("é", 100000)}, []string{"... (200000 bytes)"}},
		{"nothing", (*csi.ProbeRequest)(nil), []string{"{}"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := redacted{c.m}.String()
			if strings.Contains(got, sesame) {
				t.Errorf("the secret is in %s", got)
			}
			if len(got) > 2000 {
				t.Errorf("%d bytes long", len(got))
			}
			for _, w := range c.want {
				if !strings.Contains(got, w) {
					t.Errorf("%q is not in %s", w, got)
				}
			}
		})
	}
}

// Every field of every message that the specification marks must be hidden, also those that come with its next version.
func TestEveryFieldMarkedAsSecretIsHidden(t *testing.T) {
	messages := csi.File_csi_proto.Messages()
	found := 0
	for i := range messages.Len() {
		d := messages.Get(i)
		for j := range d.Fields().Len() {
			f := d.Fields().Get(j)
			if !isSecret(f) && f.Name() != "secrets" {
				continue
			}
			found++
			mt, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
			if err != nil {
				t.Fatal(err)
			}
			m := mt.New()
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString(sesame))
			if got := (redacted{m.Interface()}).String(); strings.Contains(got, sesame) || !strings.Contains(got, hidden) {
				t.Errorf("%s: %s", d.Name(), got)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d secret fields found in the specification's messages", found)
	}
}
