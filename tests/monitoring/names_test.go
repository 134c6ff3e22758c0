package monitoring

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	promql "github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// rule is one of a PrometheusRule.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	raw, err := os.ReadFile(root + "/deploy/strata/alerts/strata.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := yaml.UnmarshalStrict(raw, &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no rules")
	}
	return all
}

// queries are all of PromQL that operators are given, by where they are.
func queries(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, r := range rules(t) {
		all["alert "+r.Alert] = r.Expr
	}
	raw, err := os.ReadFile(root + "/deploy/strata/dashboards/strata.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal(raw, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			all["panel "+p.Title+" "+target.RefID] = strings.ReplaceAll(target.Expr, "$__rate_interval", "5m") // Grafana's own
		}
	}
	return all
}

// byPrometheus are labels that a scrape adds, and metrics of Prometheus about scrapes.
var byPrometheus = []string{"instance", "job", "up"}

// cephAlone are metrics that have no value without a cluster; pkg/warm tests what they show.
var cephAlone = map[string][]string{"strata_volume_used_bytes": {"tier", "team", "pool", "class"}}

// unwellAlone are metrics that have no value when all is well; pkg/scratch and pkg/mountd test what they show.
var unwellAlone = map[string][]string{"strata_scratch_volume_conditions": {"disk", "reason"}, "strata_cold_operation_errors_total": {"operation", "errno"}}

func TestEveryMetricThatIsNamedExists(t *testing.T) {
	there := exposed(t)
	for name, labels := range merged(cephAlone, unwellAlone) {
		if there[name] != nil {
			t.Errorf("%s is exposed and is listed as what can't be", name)
		}
		there[name] = map[string]bool{}
		for _, l := range labels {
			there[name][l] = true
		}
	}
	for where, query := range queries(t) {
		expr, err := promql.NewParser(promql.Options{}).ParseExpr(query)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		var named []string
		promql.Inspect(expr, func(n promql.Node, _ []promql.Node) error {
			s, ok := n.(*promql.VectorSelector)
			if !ok || slices.Contains(byPrometheus, s.Name) {
				return nil
			}
			named = append(named, s.Name)
			if there[s.Name] == nil {
				t.Errorf("%s: no program exposes %q", where, s.Name)
				return nil
			}
			for _, m := range s.LabelMatchers {
				if m.Name != labels.MetricName && !there[s.Name][m.Name] && !slices.Contains(byPrometheus, m.Name) {
					t.Errorf("%s: %s has no label %q", where, s.Name, m.Name)
				}
			}
			return nil
		})
		promql.Inspect(expr, func(n promql.Node, _ []promql.Node) error {
			a, ok := n.(*promql.AggregateExpr)
			if !ok || a.Without {
				return nil
			}
			for _, label := range a.Grouping {
				if slices.Contains(byPrometheus, label) || slices.ContainsFunc(named, func(n string) bool { return there[n][label] }) {
					continue
				}
				t.Errorf("%s: none of %v has the label %q", where, named, label)
			}
			return nil
		})
	}
	documented := documented(t)
	for name := range there {
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !usual.MatchString(name) && documented[base] == nil && documented[name] == nil {
			t.Errorf("docs/metrics.md doesn't have %s", name)
		}
	}
	for name, labels := range documented {
		got := there[name]
		if got == nil {
			got = maps.Clone(there[name+"_count"])
		}
		if got == nil {
			t.Errorf("docs/metrics.md has %s, which no program exposes", name)
		} else if have := slices.Sorted(maps.Keys(got)); !slices.Equal(have, labels) {
			t.Errorf("docs/metrics.md says that %s has the labels %v, and it has %v", name, labels, have)
		}
	}
}

func merged(all ...map[string][]string) map[string][]string {
	out := map[string][]string{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

// usual are the metrics of the libraries.
var usual = regexp.MustCompile(`^(go|process|promhttp)_`)

var (
	row  = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (?:gauge|counter|histogram)[^|]* \\|([^|]*)\\|")
	word = regexp.MustCompile("`([a-z_]+)`")
)

// documented are the metrics of the table in docs/metrics.md with their labels, sorted.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		labels := []string{}
		for _, l := range word.FindAllStringSubmatch(m[2], -1) {
			labels = append(labels, l[1])
		}
		slices.Sort(labels)
		all[m[1]] = labels
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestTheTableHasWhatIsRegistered reads the source: it also finds what is exposed on a bad day only.
func TestTheTableHasWhatIsRegistered(t *testing.T) {
	declared := map[string]bool{}
	err := filepath.WalkDir(root+"/pkg", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if of(n.Fun, "NewDesc") {
					declared[text(t, path, n.Args[0])] = true
				}
			case *ast.CompositeLit:
				if !of(n.Type, "HistogramOpts") && !of(n.Type, "GaugeOpts") && !of(n.Type, "CounterOpts") && !of(n.Type, "SummaryOpts") && !of(n.Type, "Opts") {
					break
				}
				for _, e := range n.Elts {
					if kv, ok := e.(*ast.KeyValueExpr); ok {
						if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "Name" {
							declared[text(t, path, kv.Value)] = true
						}
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range documented(t) {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := slices.Sorted(maps.Keys(declared)); !slices.Equal(names, want) {
		t.Errorf("docs/metrics.md has\n%v\nand the source\n%v", names, want)
	}
	for name := range declared {
		if !strings.HasPrefix(name, "strata_") && name != "csi_plugin_operations_seconds" {
			t.Errorf("%s doesn't say whose it is", name)
		}
	}
}

// of says that an expression is prometheus.NAME.
func of(e ast.Expr, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "prometheus"
}

func text(t *testing.T, path string, e ast.Expr) string {
	t.Helper()
	l, ok := e.(*ast.BasicLit)
	if !ok {
		t.Errorf("%s: a metric's name is no literal, so that nobody finds it", path)
		return ""
	}
	s, err := strconv.Unquote(l.Value)
	if err != nil {
		t.Error(err)
	}
	return s
}

// TestTheTableHasTheReasonsOfEvents compares docs/metrics.md with pkg/events.
func TestTheTableHasTheReasonsOfEvents(t *testing.T) {
	var want, got []string
	for _, m := range regexp.MustCompile(`(?m)^\s+\w+ Reason = "(\w+)"$`).FindAllStringSubmatch(read(t, "pkg/events/events.go"), -1) {
		want = append(want, m[1])
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (?:Warning|Normal) \\|").FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		got = append(got, m[1])
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("docs/metrics.md has %v, and pkg/events %v", got, want)
	}
}

// TestEveryAlertSaysWhatToDo also checks that its section is there.
func TestEveryAlertSaysWhatToDo(t *testing.T) {
	doc := read(t, "docs/operations.md")
	for _, r := range rules(t) {
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) {
			t.Errorf("%s: %v %v", r.Alert, r.Labels, r.Annotations)
		}
		if want := "docs/operations.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("%s: runbook %q, want %q", r.Alert, r.Annotations["runbook"], want)
		}
		if _, after, ok := strings.Cut(doc, "\n### "+r.Alert+"\n"); !ok || len(strings.TrimSpace(strings.SplitN(after, "\n#", 2)[0])) < 60 {
			t.Errorf("docs/operations.md doesn't say what to do about %s", r.Alert)
		}
	}
}
