// Package report is what a node says of the room it has for scratch volumes, and how a controller learns of it: through a directory
// that both see, or through the Kubernetes API.
//
// A report is a hint for placing volumes and never an account: the node itself decides, from its journal, whether a volume fits. So a
// report may be late, and one that is lost costs a retry at most.
package report

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// Report is what one node has left.
type Report struct {
	Node    string                     // its CSI node id
	Segment volume.Segment             // all that its NodeGetInfo says of its topology; has tier.NodeKey
	Time    time.Time                  // when it was so, by the node's clock
	Classes map[string]volume.Capacity // by the name of the class; inline volumes are counted as used
}

// Source knows the newest usable report of each node, in any order. Its user changes nothing in them.
type Source interface {
	Reports(ctx context.Context) ([]Report, error)
}

// wire is a report as it is written, with names that don't depend on ours.
type wire struct {
	Node    string              `json:"node"`
	Segment volume.Segment      `json:"segment"`
	Time    time.Time           `json:"time"`
	Classes map[string]capacity `json:"classes"`
}

type capacity struct {
	Available int64 `json:"available"` // bytes
	Largest   int64 `json:"largest"`   // bytes
}

func encode(r Report) ([]byte, error) {
	if err := check(r); err != nil {
		return nil, err
	}
	w := wire{Node: r.Node, Segment: r.Segment, Time: r.Time.UTC(), Classes: map[string]capacity{}}
	for name, c := range r.Classes {
		w.Classes[name] = capacity(c)
	}
	return json.Marshal(w)
}

func decode(raw []byte) (Report, error) {
	var w wire
	if err := json.Unmarshal(raw, &w); err != nil {
		return Report{}, err
	}
	r := Report{Node: w.Node, Segment: w.Segment, Time: w.Time, Classes: map[string]volume.Capacity{}}
	for name, c := range w.Classes {
		r.Classes[name] = volume.Capacity(c)
	}
	return r, check(r)
}

// check refuses a report that would mislead. The error wraps volume.ErrInvalid.
func check(r Report) error {
	if err := tier.CheckSegment(r.Segment); err != nil {
		return fmt.Errorf("report of node %q: %w", r.Node, err)
	}
	if r.Node == "" || r.Segment[tier.NodeKey] != r.Node {
		return fmt.Errorf("%w: report of node %q: its segment says %s=%q", volume.ErrInvalid, r.Node, tier.NodeKey, r.Segment[tier.NodeKey])
	}
	if r.Time.IsZero() {
		return fmt.Errorf("%w: report of node %s: has no time", volume.ErrInvalid, r.Node)
	}
	for name, c := range r.Classes {
		if c.Available < 0 || c.Largest < 0 {
			return fmt.Errorf("%w: report of node %s: class %s has %d bytes, the largest volume %d: neither can be negative",
				volume.ErrInvalid, r.Node, name, c.Available, c.Largest)
		}
	}
	return nil
}

// fileName of a node's report; nodes never share one.
func fileName(node string) string { return volume.Name("", node, maxName) + suffix }

const (
	suffix  = ".json"
	maxName = 63
)
