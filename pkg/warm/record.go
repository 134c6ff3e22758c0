package warm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/volume"
)

// Extended attributes of CephFS that this tier reads and writes, and the one that holds our record.
const (
	attrRecord       = "user.strata"
	attrQuota        = "ceph.quota.max_bytes"
	attrMaxFiles     = "ceph.quota.max_files"
	attrBytes        = "ceph.dir.rbytes"
	attrSnapshotTime = "ceph.snap.btime"
	attrLayout       = "ceph.dir.layout"
	attrNamespace    = "ceph.dir.layout.pool_namespace"
	attrPool         = "ceph.dir.layout.pool"
)

// record is what we keep with a volume, as JSON in attrRecord of its base directory: a collision of names is seen
// there, and an operator reads whose it is. It is written last: a subvolume without one is not finished.
type record struct {
	Name   string        `json:"name"` // the CSI request name
	Path   string        `json:"path"` // the data directory
	Pool   string        `json:"pool"`
	Source volume.Source `json:"source,omitzero"`
	volume.Owner
	Cluster string `json:"cluster"` // the namePrefix of who made it
	Size    int64  `json:"size"`    // the quota it was given last
	// Identity is what the volume's own cephx identity may do; none has it when nodes mount with a shared one.
	Identity access `json:"identity,omitempty"`
	// Copy is set while the volume's first content is being copied.
	Copy *copyRecord `json:"copy,omitempty"`
}

// copyRecord is what finishing a copy needs to know.
type copyRecord struct {
	Size     int64          `json:"size"`     // the quota asked for
	MaxFiles int64          `json:"maxFiles"` // 0: that of the source
	Of       ceph.Subvolume `json:"of"`
	Snapshot string         `json:"snapshot"`
	Bytes    int64          `json:"bytes"` // what is to be copied, for the progress
	// Temporary: the snapshot was taken for this copy alone and goes with it.
	Temporary bool `json:"temporary"`
}

// readRecord returns a volume's record. syscall.ENOENT: nothing of that name exists. syscall.ENODATA: a directory exists and
// holds no finished volume.
func readRecord(ctx context.Context, s site, sub ceph.Subvolume) (record, error) {
	return readAttr[record](ctx, s, sub.Base())
}

// createRecord writes the record of a volume that has none. syscall.EEXIST: it has one.
func createRecord(ctx context.Context, s site, sub ceph.Subvolume, r record) error {
	return writeAttr(ctx, s.tree().CreateXattr, sub.Base(), r)
}

func replaceRecord(ctx context.Context, s site, sub ceph.Subvolume, r record) error {
	return writeAttr(ctx, s.tree().SetXattr, sub.Base(), r)
}

func readAttr[T any](ctx context.Context, s site, path string) (T, error) {
	var value T
	raw, err := s.tree().Xattr(ctx, path, attrRecord)
	if err != nil {
		return value, err
	}
	if err := json.Unmarshal([]byte(raw), &value); err != nil {
		return value, fmt.Errorf("%s: attribute %s: %w", path, attrRecord, err)
	}
	return value, nil
}

func writeAttr(ctx context.Context, write func(ctx context.Context, path, name, value string) error, path string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return write(ctx, path, attrRecord, string(raw))
}

// together does what doesn't depend on each other at the same time: each question to the metadata server is a way to it and back.
func together(all ...func()) {
	var group sync.WaitGroup
	for _, do := range all {
		group.Go(do)
	}
	group.Wait()
}

// unfinished says that err of readRecord means: there is no finished volume.
func unfinished(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENODATA)
}

// number reads an attribute that holds a number; 0 when it is not set.
func number(ctx context.Context, t ceph.Tree, path, name string) (int64, error) {
	raw, err := t.Xattr(ctx, path, name)
	if errors.Is(err, syscall.ENODATA) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimRight(raw, "\x00")), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: attribute %s: %w", path, name, err)
	}
	return n, nil
}
