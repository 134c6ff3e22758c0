//go:build e2e

package e2e

// The S3 store of tier cold: the gateway of the cluster's Ceph, which listens on the loopback address that nodes and the controller share.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/tests/harness"
)

// volumesBucket is the one of the classes of tier cold.
const volumesBucket = "strata"

type store struct {
	endpoint string
	key      s3.Credentials
	role     string // ARN of the one that the key may assume
}

func openStore(cephDir string) (store, error) {
	endpoint, key, err := harness.Gateway(cephDir)
	if err != nil {
		return store{}, err
	}
	role, err := harness.GatewayRole(cephDir)
	return store{endpoint, key, role}, err
}

// bucket is a bucket as any S3 tool sees it; it is made if it isn't there.
func (s store) bucket(ctx context.Context, name string) (*s3.Bucket, error) {
	b, err := s3.Open(s3.Location{Endpoint: s.endpoint, PathStyle: true, Bucket: name}, func() s3.Credentials { return s.key }, s3.Options{})
	if err != nil {
		return nil, err
	}
	return b, b.Create(ctx)
}

// secret is one that classes and volumes of tier cold name: the driver's, or that of a team's namespace.
func (s store) secret(namespace string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: coldSecret, Namespace: namespace},
		StringData: map[string]string{"accessKeyID": s.key.AccessKeyID, "secretAccessKey": s.key.SecretAccessKey},
	}
}

// keysBelow are those of all objects of a bucket below a prefix.
func keysBelow(ctx context.Context, b *s3.Bucket, prefix string) ([]string, error) {
	var keys []string
	for r := (s3.ListRequest{Prefix: prefix}); ; {
		page, err := b.List(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			keys = append(keys, o.Key)
		}
		if r.Token = page.Next; page.Next == "" {
			return keys, nil
		}
	}
}

// object is the content of an object.
func object(ctx context.Context, b *s3.Bucket, key string) ([]byte, error) {
	o, err := b.Head(ctx, key)
	if err != nil {
		return nil, err
	}
	body, err := b.Get(ctx, key, o.ETag, 0, o.Size)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// nothingStored is nil when no claim has left an object or an unfinished upload.
func (s store) nothingStored(ctx context.Context) error {
	b, err := s.bucket(ctx, volumesBucket)
	if err != nil {
		return err
	}
	keys, err := keysBelow(ctx, b, "")
	if err != nil {
		return err
	}
	uploads, err := b.Uploads(ctx, "")
	if err == nil && len(keys)+len(uploads) > 0 {
		err = fmt.Errorf("bucket %s has objects [%s] and %d unfinished uploads", volumesBucket, strings.Join(keys[:min(len(keys), 5)], ", "), len(uploads))
	}
	return err
}

// emptied removes a bucket of a test with all that is in it.
func emptied(ctx context.Context, b *s3.Bucket) error {
	keys, err := keysBelow(ctx, b, "")
	if err == nil && len(keys) > 0 {
		err = b.DeleteMany(ctx, keys)
	}
	return errors.Join(err, b.Remove(ctx))
}
