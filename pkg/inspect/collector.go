package inspect

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
)

const (
	// dialTime bounds connecting to one cluster.
	dialTime = 20 * time.Second
	// together is how many questions a metadata server is asked at once.
	together = 16
)

// Dial connects to a cluster.
type Dial func(ctx context.Context, c clusters.Cluster) (ceph.Conn, error)

// Collector looks at clusters.
type Collector struct {
	clusters []clusters.Cluster
	dial     Dial
}

// New returns a collector of the clusters of a configuration. It connects at each look anew.
func New(list []clusters.Cluster, dial Dial) *Collector {
	return &Collector{clusters: list, dial: dial}
}

// reach connects to a cluster for one look.
func (c *Collector) reach(ctx context.Context, cluster clusters.Cluster) (looker, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := c.dial(ctx, cluster)
	if err != nil {
		return looker{}, nil, err
	}
	return looker{conn}, conn.Close, nil
}

// denied says that a key may not do what was asked for.
func denied(err error) bool { return errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) }

// hung says that nobody answered.
func hung(err error) bool {
	return errors.Is(err, ceph.ErrHung) || errors.Is(err, context.DeadlineExceeded)
}

// because says in one sentence why a cluster can't be looked at.
func because(err error) string {
	switch {
	case denied(err):
		return fmt.Sprintf("the key isn't accepted or may not do that: %v", err)
	case hung(err):
		return fmt.Sprintf("no answer: %v", err)
	}
	return err.Error()
}
