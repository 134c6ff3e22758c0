//go:build e2e

package e2e

// Figures of the benchmarks, as a part of docs/benchmarks.md.

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// figures are those that the benchmarks have found, in their order.
var figures report

type report []*figureTable

type figureTable struct {
	heading string
	lines   []string
	notes   []string
}

// table begins a table with a heading and the heads of its columns. The first column has text, all others numbers.
func (r *report) table(heading string, columns ...string) *figureTable {
	t := &figureTable{heading: heading}
	t.row(columns...)
	t.lines = append(t.lines, "|---"+strings.Repeat("|--:", len(columns)-1)+"|")
	*r = append(*r, t)
	return t
}

func (t *figureTable) row(cells ...string) {
	t.lines = append(t.lines, "| "+strings.Join(cells, " | ")+" |")
}

// after adds a sentence below the table.
func (t *figureTable) after(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func (r report) markdown() string {
	var b strings.Builder
	for _, t := range r {
		fmt.Fprintf(&b, "\n%s\n\n%s\n\n%s\n", t.heading, strings.Join(t.lines, "\n"), strings.Join(t.notes, "\n"))
	}
	return b.String()
}

// write puts the figures into the file that STRATA_E2E_FIGURES names; hack/e2e puts them into the page.
func (r report) write() error {
	path := os.Getenv("STRATA_E2E_FIGURES")
	if path == "" || len(r) == 0 {
		return nil
	}
	return os.WriteFile(path, []byte(r.markdown()), 0o644)
}

// percentile is the smallest time that p percent of all don't exceed.
func percentile(all []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[(len(sorted)*p+99)/100-1]
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
