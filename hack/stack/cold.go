package stack

// Tier cold on the S3 gateway of the cluster.

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/s3"
)

// Bucket is where cold volumes are.
const Bucket = "demo"

// ColdDir has the caches, and the engines' program, where a user other than root can reach them: the checkout may be in somebody's home.
func (s *Stack) ColdDir() string {
	sum := sha256.Sum256([]byte(s.Dir))
	return filepath.Join(os.TempDir(), "strata-"+hex.EncodeToString(sum[:4]))
}

func (s *Stack) prepareCold() error {
	if err := os.MkdirAll(s.ColdDir(), 0o711); err != nil {
		return err
	}
	from, err := os.Open(filepath.Join(s.bin, "strata-coldfs"))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(s.engine(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	return to.Close()
}

func (s *Stack) engine() string { return filepath.Join(s.ColdDir(), "strata-coldfs") }

// engines are the arguments of a node's strata-mountd for them. The size is a Kubernetes quantity.
func (s *Stack) engines(node, cacheSize string) []string {
	return []string{"--coldfs", s.engine(), "--coldfs-cache-dir", s.coldCache(node), "--coldfs-cache-size", cacheSize, "--coldfs-cache-reserve", "1Gi"}
}

func (s *Stack) coldCache(node string) string { return filepath.Join(s.ColdDir(), "cache-"+node) }

// gateway reads what hack/ceph says of its S3 gateway, a file of NAME=VALUE.
func (s *Stack) gateway() (endpoint string, key s3.Credentials, err error) {
	f, err := os.Open(s.CephFile("s3.env"))
	if err != nil {
		return "", key, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		switch name, value, _ := strings.Cut(lines.Text(), "="); name {
		case "AWS_ENDPOINT_URL":
			endpoint = value
		case "AWS_ACCESS_KEY_ID":
			key.AccessKeyID = value
		case "AWS_SECRET_ACCESS_KEY":
			key.SecretAccessKey = value
		}
	}
	if endpoint == "" || key.AccessKeyID == "" {
		return "", key, fmt.Errorf("%s says nothing of an S3 gateway", f.Name())
	}
	return endpoint, key, nil
}

// OpenBucket makes the bucket, and is a plain S3 client of it, as any other tool would be.
func (s *Stack) OpenBucket(ctx context.Context) (*s3.Bucket, error) {
	endpoint, key, err := s.gateway()
	if err != nil {
		return nil, err
	}
	b, err := s3.Open(s3.Location{Endpoint: endpoint, PathStyle: true, Bucket: Bucket}, func() s3.Credentials { return key }, s3.Options{})
	if err != nil {
		return nil, err
	}
	return b, b.Create(ctx)
}

// ColdRequest asks for a volume of a team in the bucket.
func (s *Stack) ColdRequest(name, team string, size int64) (*csi.CreateVolumeRequest, error) {
	endpoint, _, err := s.gateway()
	return &csi.CreateVolumeRequest{Name: name, VolumeCapabilities: []*csi.VolumeCapability{Capability(Shared)},
		CapacityRange: &csi.CapacityRange{RequiredBytes: size}, Secrets: s.secrets,
		Parameters: map[string]string{"tier": "cold", "endpoint": endpoint, "bucket": Bucket, "team": team}}, err
}

// DeleteCold deletes a cold volume.
func (s *Stack) DeleteCold(ctx context.Context, v *csi.Volume) error {
	_, err := s.Controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId(), Secrets: s.secrets})
	return err
}
