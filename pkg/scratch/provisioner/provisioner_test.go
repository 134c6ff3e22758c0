package provisioner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-csi/strata/pkg/scratch"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/report"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// nodes is a report.Source of what the test says.
type nodes struct {
	reports []report.Report
	err     error
}

func (n nodes) Reports(context.Context) ([]report.Report, error) { return n.reports, n.err }

func node(name string, classes map[string]volume.Capacity) report.Report {
	return report.Report{Node: name, Segment: at(name), Classes: classes}
}

func at(name string) volume.Segment {
	return volume.Segment{tier.NodeKey: name, "csi.strata.dev/scratch-loop": "true"}
}

func room(available, largest int64) map[string]volume.Capacity {
	return map[string]volume.Capacity{"default": {Available: available, Largest: largest}}
}

func spec(name string, required, limit int64, preferred ...string) volume.Spec {
	s := volume.Spec{Name: name, Capacity: volume.CapacityRange{Required: required, Limit: limit}, Parameters: map[string]string{"tier": "scratch"}}
	for _, p := range preferred {
		s.Preferred = append(s.Preferred, at(p))
	}
	return s
}

func TestCreate(t *testing.T) {
	s := spec("pvc-1", 10*gib+1, 0, "n1")
	s.Parameters["class"] = "fast"
	got, err := New(nil).Create(t.Context(), s)
	want := volume.Volume{
		ID: "scratch:fast:pvc-1", Capacity: 10*gib + mib, Segments: []volume.Segment{{tier.NodeKey: "n1"}},
		Context: map[string]string{"tier": "scratch", "class": "fast", "size": fmt.Sprint(10*gib + mib)},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	if _, err := volume.ParseID(string(got.ID)); err != nil {
		t.Error(err)
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		required, limit, want int64
		err                   error
	}{
		{required: 0, want: DefaultSize},
		{required: 0, limit: 100 * mib, want: 100 * mib},
		{required: 0, limit: 100*mib + 1, want: 100 * mib},
		{required: 0, limit: disk.MinSize, want: disk.MinSize},
		{required: 0, limit: disk.MinSize - 1, err: volume.ErrOutOfRange},
		{required: 1, want: disk.MinSize},
		{required: disk.MinSize, limit: disk.MinSize, want: disk.MinSize},
		{required: gib + 1, want: gib + mib},
		{required: gib + 1, limit: gib + mib, want: gib + mib},
		{required: gib + 1, limit: gib + mib - 1, err: volume.ErrOutOfRange},
		{required: 1 << 60, want: 1 << 60},
		{required: 1<<60 + 1, err: volume.ErrOutOfRange},
		{required: 1<<63 - 1, limit: 1<<63 - 1, err: volume.ErrOutOfRange},
		{required: 2, limit: 1, err: volume.ErrOutOfRange},
		{required: -1, err: volume.ErrInvalid},
	} {
		v, err := New(nil).Create(t.Context(), spec("v", c.required, c.limit))
		if !errors.Is(err, c.err) || v.Capacity != c.want {
			t.Errorf("%d to %d: %d, %v; want %d, %v", c.required, c.limit, v.Capacity, err, c.want, c.err)
		}
	}
}

func TestWhatCreateRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*volume.Spec)
		is     error
		want   string
	}{
		"unknown parameter": {func(s *volume.Spec) { s.Parameters["clas"] = "fast" }, volume.ErrInvalid, `"clas", did you mean "class"?; it has tier, class`},
		"size as parameter": {func(s *volume.Spec) { s.Parameters["pool"] = "nvme" }, volume.ErrInvalid, `no parameter "pool"`},
		"another tier":      {func(s *volume.Spec) { s.Parameters["tier"] = "warm" }, volume.ErrInvalid, `"warm" is not scratch`},
		"empty class":       {func(s *volume.Spec) { s.Parameters["class"] = "" }, volume.ErrInvalid, `parameter class`},
		"class with colon":  {func(s *volume.Spec) { s.Parameters["class"] = "a:b" }, volume.ErrInvalid, `"a:b" is not 1 to 32 lower-case letters`},
		"long class":        {func(s *volume.Spec) { s.Parameters["class"] = strings.Repeat("c", 33) }, volume.ErrInvalid, "1 to 32"},
		"of a snapshot":     {func(s *volume.Spec) { s.Source.Snapshot = "warm:a:b" }, volume.ErrUnsupported, "begins empty"},
		"of a volume":       {func(s *volume.Spec) { s.Source.Volume = "scratch:a:b" }, volume.ErrUnsupported, "begins empty"},
		"on many nodes":     {func(s *volume.Spec) { s.Access.MultiNode = true }, volume.ErrInvalid, "ReadWriteOncePod"},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec("v", gib, 0)
			c.change(&s)
			if _, err := New(nil).Create(t.Context(), s); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			parameters := New(nil).CheckParameters(s.Parameters)
			if wrong := s.Source.Empty() && !s.Access.MultiNode; (parameters != nil) != wrong {
				t.Errorf("CheckParameters: %v", parameters)
			}
		})
	}
	if err := New(nil).CheckAccess(volume.Access{Block: true, ReadOnly: true}); err != nil {
		t.Errorf("a block device: %v", err)
	}
}

func TestARepetitionGetsTheSame(t *testing.T) {
	p := New(nil)
	first, err := p.Create(t.Context(), spec("v", gib, 0, "n1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []volume.Spec{spec("v", gib, 0, "n1"), spec("v", gib-1, 2*gib, "n1"), spec("v", 0, 0, "n1")} {
		if again, err := p.Create(t.Context(), s); err != nil || !cmp.Equal(first, again) {
			t.Errorf("%+v: %+v, %v", s.Capacity, again, err)
		}
	}
	if again, err := New(nil).Create(t.Context(), spec("v", gib, 0, "n1")); err != nil || !cmp.Equal(first, again) {
		t.Errorf("another process: %+v, %v", again, err)
	}
	// A pod that was moved takes its volume along: there is nothing of it anywhere.
	if moved, err := p.Create(t.Context(), spec("v", gib, 0, "n2")); err != nil || !cmp.Equal(moved.Segments, []volume.Segment{{tier.NodeKey: "n2"}}) {
		t.Errorf("moved: %+v, %v", moved, err)
	}

	other := spec("v", gib, 0)
	other.Parameters["class"] = "fast"
	for name, s := range map[string]volume.Spec{"larger": spec("v", gib+1, 0), "smaller": spec("v", 0, gib-mib), "another class": other} {
		if _, err := p.Create(t.Context(), s); !errors.Is(err, volume.ErrExists) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Of another class: it isn't the one that is remembered.
	if err := p.Delete(t.Context(), "scratch:fast:v"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Create(t.Context(), other); !errors.Is(err, volume.ErrExists) {
		t.Errorf("after the deletion of another: %v", err)
	}
	if err := p.Delete(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if v, err := p.Create(t.Context(), other); err != nil || v.ID != "scratch:fast:v" {
		t.Errorf("after its deletion: %+v, %v", v, err)
	}
}

func TestPlacing(t *testing.T) {
	known := nodes{reports: []report.Report{
		node("empty", room(100*gib, 60*gib)), node("full", room(0, 0)), node("split", room(100*gib, 5*gib)),
		node("classless", map[string]volume.Capacity{"fast": {Available: 100 * gib}}), node("simple", room(20*gib, 0)),
	}}
	for _, c := range []struct {
		name      string
		size      int64
		preferred []string
		want      string // node; "" none
		full      []string
	}{
		{name: "the first", size: 10 * gib, preferred: []string{"empty", "simple"}, want: "empty"},
		{name: "the first with room", size: 10 * gib, preferred: []string{"full", "split", "classless", "simple", "empty"}, want: "simple"},
		{name: "as large as the largest", size: 60 * gib, preferred: []string{"empty"}, want: "empty"},
		{name: "larger than the largest", size: 60*gib + 1, preferred: []string{"empty"}, full: []string{"61441Mi", "empty has 100Gi of class default free, 60Gi for one volume"}},
		{name: "nothing known", size: 10 * gib, preferred: []string{"unknown", "stranger"}, want: "unknown"},
		{name: "room before what is unknown", size: 10 * gib, preferred: []string{"unknown", "full", "empty"}, want: "empty"},
		{name: "the unknown before the full", size: 10 * gib, preferred: []string{"full", "unknown", "stranger"}, want: "unknown"},
		{name: "all full", size: 10 * gib, preferred: []string{"full", "split", "classless"},
			full: []string{"10Gi", "full has 0 of class default free", "split has 100Gi of class default free, 5Gi for one volume", "classless has no class default (it has: fast)"}},
		{name: "anywhere", size: 10 * gib},
		{name: "nowhere", size: 100 * gib, full: []string{"empty has", "full has", "simple has"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := New(known).Create(t.Context(), spec("v", c.size, 0, c.preferred...))
			if c.full != nil {
				if !errors.Is(err, volume.ErrExhausted) {
					t.Fatalf("got %+v, %v", v, err)
				}
				for _, w := range c.full {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("%q is not in %q", w, err)
					}
				}
				return
			}
			var want []volume.Segment
			if c.want != "" {
				want = []volume.Segment{{tier.NodeKey: c.want}} // whatever kinds of disk it has now
			}
			if err != nil || !cmp.Equal(v.Segments, want) {
				t.Errorf("got %v, %v; want %v", v.Segments, err, want)
			}
		})
	}
}

func TestAPlacedVolumeKeepsItsPlace(t *testing.T) {
	source := &nodes{reports: []report.Report{node("n1", room(gib, gib)), node("n2", room(gib, gib))}}
	p := New(source)
	first, err := p.Create(t.Context(), spec("v", gib, 0, "n1", "n2"))
	if err != nil {
		t.Fatal(err)
	}
	source.reports[0] = node("n1", room(0, 0)) // the volume was staged there
	for _, preferred := range [][]string{{"n1", "n2"}, {"n2", "n1"}, {"n1"}, nil} {
		if again, err := p.Create(t.Context(), spec("v", gib, 0, preferred...)); err != nil || !cmp.Equal(first, again) {
			t.Errorf("%v: %+v, %v", preferred, again, err)
		}
	}
	source.reports[1] = node("n2", room(0, 0))
	if v, err := p.Create(t.Context(), spec("v", gib, 0, "n2")); !errors.Is(err, volume.ErrExhausted) {
		t.Errorf("to another node that is full: %+v, %v", v, err)
	}
}

func TestManyFullNodesAreCounted(t *testing.T) {
	var all nodes
	for i := range 20 {
		all.reports = append(all.reports, node(fmt.Sprintf("n%02d", i), room(0, 0)))
	}
	_, err := New(all).Create(t.Context(), spec("v", gib, 0))
	if !errors.Is(err, volume.ErrExhausted) || !strings.Contains(err.Error(), "n04 has") || !strings.HasSuffix(err.Error(), "and 15 more nodes") {
		t.Errorf("got %v", err)
	}
}

func TestWithoutReportsVolumesArePlacedBlindly(t *testing.T) {
	v, err := New(nodes{err: volume.ErrUnavailable}).Create(t.Context(), spec("v", gib, 0, "n1", "n2"))
	if err != nil || !cmp.Equal(v.Segments, []volume.Segment{{tier.NodeKey: "n1"}}) {
		t.Errorf("got %v, %v", v.Segments, err)
	}
}

func TestAFailedCreateIsNotRemembered(t *testing.T) {
	p := New(nodes{reports: []report.Report{node("n1", room(gib, gib))}})
	if _, err := p.Create(t.Context(), spec("v", 2*gib, 0, "n1")); !errors.Is(err, volume.ErrExhausted) {
		t.Fatalf("got %v", err)
	}
	if v, err := p.Create(t.Context(), spec("v", 0, gib, "n1")); err != nil || v.Capacity != gib {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestCapacity(t *testing.T) {
	source := nodes{reports: []report.Report{node("a", room(10*gib, 4*gib)), node("b", room(5*gib, 0)),
		node("c", map[string]volume.Capacity{"fast": {Available: gib, Largest: gib}})}}
	huge := nodes{reports: []report.Report{node("a", room(1<<62, 1)), node("b", room(1<<62, 1)), node("c", room(1<<62, 1))}}
	for _, c := range []struct {
		name    string
		source  nodes
		class   string
		segment volume.Segment
		want    volume.Capacity
	}{
		{"everywhere", source, "default", nil, volume.Capacity{Available: 15 * gib, Largest: 5 * gib}},
		{"one node", source, "default", at("a"), volume.Capacity{Available: 10 * gib, Largest: 4 * gib}},
		{"by a part of its segment", source, "default", volume.Segment{tier.NodeKey: "a"}, volume.Capacity{Available: 10 * gib, Largest: 4 * gib}},
		{"a kind that no node has", source, "default", volume.Segment{"csi.strata.dev/scratch-lvm": "true"}, volume.Capacity{}},
		{"a node that is silent", source, "default", at("d"), volume.Capacity{}},
		{"a node without the class", source, "default", at("c"), volume.Capacity{}},
		{"another class", source, "fast", nil, volume.Capacity{Available: gib, Largest: gib}},
		{"more than can be counted", huge, "default", nil, volume.Capacity{Available: 1<<63 - 1, Largest: 1}},
	} {
		got, err := New(c.source).Capacity(t.Context(), map[string]string{"tier": "scratch", "class": c.class}, c.segment)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		source     report.Source
		parameters map[string]string
		want       error
	}{
		"no source":           {nil, nil, volume.ErrPrecondition},
		"source that is down": {nodes{err: volume.ErrUnavailable}, nil, volume.ErrUnavailable},
		"wrong parameters":    {source, map[string]string{"clas": "fast"}, volume.ErrInvalid},
	} {
		if _, err := New(c.source).Capacity(t.Context(), c.parameters, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExpand(t *testing.T) {
	p := New(nil)
	v, err := p.Create(t.Context(), spec("v", 2*gib, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name            string
		id              volume.ID
		required, limit int64
		want            int64
		err             error
	}{
		{name: "larger", id: v.ID, required: 3*gib + 1, want: 3*gib + mib},
		{name: "no smaller than it was made", id: v.ID, required: gib, want: 3*gib + mib},
		{name: "a limit below it", id: v.ID, required: gib, limit: 2 * gib, err: volume.ErrOutOfRange},
		{name: "one that isn't remembered", id: "scratch:fast:other", required: gib, want: gib},
		{name: "limit within 1 MiB", id: v.ID, required: 4*gib + 1, limit: 4*gib + 2, err: volume.ErrOutOfRange},
		{name: "no size", id: v.ID, limit: gib, err: volume.ErrInvalid},
		{name: "negative", id: v.ID, required: -1, err: volume.ErrInvalid},
		{name: "none of ours", id: "warm:a:b", required: gib, err: volume.ErrNotFound},
	} {
		got, nodeNeeded, err := p.Expand(t.Context(), c.id, volume.CapacityRange{Required: c.required, Limit: c.limit})
		if !errors.Is(err, c.err) || got != c.want || nodeNeeded != (c.err == nil) {
			t.Errorf("%s: %d, %v, %v; want %d, %v", c.name, got, nodeNeeded, err, c.want, c.err)
		}
	}
	if got, err := p.Get(t.Context(), v.ID); err != nil || got.Capacity != 3*gib+mib {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}

func TestGetAndDeleteByTheID(t *testing.T) {
	p := New(nil)
	for _, id := range []volume.ID{"scratch:default:pvc-1", "scratch:fast:h-aaaaaaaaaaaaaaaaaaaaaaaaaa"} {
		if v, err := p.Get(t.Context(), id); err != nil || v.ID != id || v.Capacity != 0 {
			t.Errorf("%s: %+v, %v", id, v, err)
		}
	}
	bad := []volume.ID{"", "scratch", "scratch:a", "scratch:a:b:c", "warm:a:b", "scratch:A:b", "scratch:a:..", "scratch:a:", volume.ID("scratch:a:" + strings.Repeat("n", 41))}
	for _, id := range bad {
		if v, err := p.Get(t.Context(), id); !errors.Is(err, volume.ErrNotFound) {
			t.Errorf("%q: %+v, %v", id, v, err)
		}
	}
	for _, id := range append(bad, "scratch:default:pvc-1") {
		if err := p.Delete(t.Context(), id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestAnyNameBecomesAnID: names of any text, each an id of its own that fits and can be parsed.
func TestAnyNameBecomesAnID(t *testing.T) {
	p := New(nil)
	seen := map[volume.ID]string{}
	for _, name := range []string{"pvc-1", "PVC-1", "a/b", "../..", "a:b", "ü", strings.Repeat("n", 128), strings.Repeat("n", 127) + "m", " ", "h-aaaaaaaaaaaaaaaaaaaaaaaaaa"} {
		s := spec(name, gib, 0)
		s.Parameters["class"] = strings.Repeat("c", 32)
		v, err := p.Create(t.Context(), s)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if other, ok := seen[v.ID]; ok {
			t.Errorf("%q and %q are both %s", name, other, v.ID)
		}
		seen[v.ID] = name
		if got, err := p.Get(t.Context(), v.ID); err != nil || got.Capacity != gib {
			t.Errorf("%q: %s: %+v, %v", name, v.ID, got, err)
		}
	}
}

func TestMemoryForgetsTheOldest(t *testing.T) {
	m := newMemory(3)
	for _, name := range []string{"a", "b", "c"} {
		m.put(name, remembered{class: name, size: 1})
	}
	m.get("a")
	m.put("b", remembered{class: "b", size: 2})
	m.put("d", remembered{class: "d", size: 1})
	for name, want := range map[string]remembered{"a": {class: "a", size: 1}, "b": {class: "b", size: 2}, "c": {}, "d": {class: "d", size: 1}} {
		if got, _ := m.get(name); got.class != want.class || got.size != want.size {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	m.remove("a")
	m.remove("a")
	if _, ok := m.get("a"); ok || len(m.names) != m.order.Len() {
		t.Errorf("a: %v; %d names, %d in order", ok, len(m.names), m.order.Len())
	}
}

func TestManyAtOnce(t *testing.T) {
	p := New(nodes{reports: []report.Report{node("n1", room(gib, gib))}})
	p.names.max = 5
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			for n := range 50 {
				v, err := p.Create(t.Context(), spec(fmt.Sprintf("v%d-%d", i, n), gib, 0, "n1"))
				if err != nil {
					t.Error(err)
					return
				}
				_, _, err = p.Expand(t.Context(), v.ID, volume.CapacityRange{Required: 2 * gib})
				if err := errors.Join(err, p.Delete(t.Context(), v.ID)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(p.names.names) != 0 {
		t.Errorf("%d deleted volumes are remembered", len(p.names.names))
	}
}

// TestTheRegistryFindsEverything: what the controller will advertise.
func TestTheRegistryFindsEverything(t *testing.T) {
	c := tier.Controllers{}
	c.Register(volume.Scratch, New(nil))
	b, err := c.For(volume.Scratch)
	if err != nil || b.AccessChecker == nil || b.Expander == nil || b.CapacityReporter == nil || b.Snapshotter != nil || b.Lister != nil {
		t.Errorf("got %+v, %v", b, err)
	}
}

// TestANodeReadsTheContext: the two sides name the same things alike.
func TestANodeReadsTheContext(t *testing.T) {
	v, err := New(nil).Create(t.Context(), spec("v", gib, 0))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"tier": "scratch", scratch.ContextClass: config.DefaultClass, scratch.ContextSize: fmt.Sprint(gib)}
	if d := cmp.Diff(want, v.Context); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestTheLimitsAreThoseOfTheFile(t *testing.T) {
	if n, err := config.ParseSize("1Ei"); err != nil || n != maxSize {
		t.Errorf("got %d, %v", n, err)
	}
	if err := config.CheckName(config.DefaultClass); err != nil {
		t.Error(err)
	}
}
