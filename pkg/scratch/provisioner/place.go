package provisioner

// Where a volume goes, and what room there is.

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/report"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// place returns the segment that the volume is for: the first of the preferred in which a node reports room; when none does, the first of
// which nothing is known. Without preferred segments there is none: any node may stage the volume, and makes it then. The error wraps
// volume.ErrExhausted, by which Kubernetes looks for another node.
func (p *Provisioner) place(ctx context.Context, class string, size int64, preferred []volume.Segment) ([]volume.Segment, error) {
	reports := p.reports(ctx)
	anywhere := len(preferred) == 0
	if anywhere {
		preferred = []volume.Segment{{}}
	}
	var unknown volume.Segment
	var full []string
	for _, s := range preferred {
		within := in(reports, s)
		switch {
		case slices.ContainsFunc(within, func(r report.Report) bool { return fits(r, class, size) }):
			return chosen(s, anywhere), nil
		case len(within) > 0:
			for _, r := range within {
				full = append(full, free(r, class))
			}
		case unknown == nil:
			unknown = s
		}
	}
	if unknown != nil {
		return chosen(unknown, anywhere), nil
	}
	slices.Sort(full)
	return nil, fmt.Errorf("%w: no node has room for a scratch volume of %s: %s", volume.ErrExhausted, config.FormatSize(size), enumerate(slices.Compact(full)))
}

func chosen(s volume.Segment, anywhere bool) []volume.Segment {
	if anywhere {
		return nil
	}
	return []volume.Segment{narrow(s)}
}

// narrow keeps of a segment the node alone where it names one: the kinds of disk that a node has may change in the life of a volume.
func narrow(s volume.Segment) volume.Segment {
	if node, ok := s[tier.NodeKey]; ok {
		return volume.Segment{tier.NodeKey: node}
	}
	return maps.Clone(s)
}

// among says whether a volume that was placed before is well placed still. It keeps its place then, even when a node has no room any
// more: the volume itself may be what took it.
func among(segments, preferred []volume.Segment) bool {
	if len(segments) == 0 || len(preferred) == 0 {
		return len(preferred) == 0
	}
	return slices.ContainsFunc(preferred, func(s volume.Segment) bool { return maps.Equal(narrow(s), segments[0]) })
}

// in keeps the reports of nodes that lie in the segment; an empty one is everywhere.
func in(reports []report.Report, s volume.Segment) []report.Report {
	var within []report.Report
	for _, r := range reports {
		lies := true
		for key, value := range s {
			lies = lies && r.Segment[key] == value
		}
		if lies {
			within = append(within, r)
		}
	}
	return within
}

func fits(r report.Report, class string, size int64) bool {
	c, ok := r.Classes[class]
	return ok && size <= c.Available && (c.Largest == 0 || size <= c.Largest)
}

// free says what a node has, for a person.
func free(r report.Report, class string) string {
	c, ok := r.Classes[class]
	if !ok {
		names := slices.Sorted(maps.Keys(r.Classes))
		return fmt.Sprintf("%s has no class %s (it has: %s)", r.Node, class, cmp.Or(strings.Join(names, ", "), "none"))
	}
	return fmt.Sprintf("%s has %s of class %s free, %s for one volume", r.Node, round(c.Available), class, round(cmp.Or(c.Largest, c.Available)))
}

// round leaves out what is less than the grain of a volume.
func round(n int64) string { return config.FormatSize(n >> 20 << 20) }

const maxListed = 5

func enumerate(items []string) string {
	if len(items) > maxListed {
		return strings.Join(items[:maxListed], "; ") + fmt.Sprintf("; and %d more nodes", len(items)-maxListed)
	}
	return strings.Join(items, "; ")
}

// Capacity adds up what the nodes of the segment report. A node that reports nothing has none: nobody should be sent there. See
// tier.CapacityReporter. The error wraps volume.ErrUnavailable when the reports can't be had.
func (p *Provisioner) Capacity(ctx context.Context, parameters map[string]string, segment volume.Segment) (volume.Capacity, error) {
	class, err := parse(parameters)
	if err != nil {
		return volume.Capacity{}, err
	}
	if p.source == nil {
		return volume.Capacity{}, fmt.Errorf("%w: this controller gets no reports of the nodes' room for scratch volumes: give it, and each node, "+
			"the directory of the reports", volume.ErrPrecondition)
	}
	reports, err := p.source.Reports(ctx)
	if err != nil {
		return volume.Capacity{}, err
	}
	var sum volume.Capacity
	for _, r := range in(reports, segment) {
		c := r.Classes[class]
		if sum.Available += c.Available; sum.Available < 0 {
			sum.Available = 1<<63 - 1
		}
		sum.Largest = max(sum.Largest, cmp.Or(c.Largest, c.Available))
	}
	return sum, nil
}
