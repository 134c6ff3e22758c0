package main

// The figures of pods, for docs/benchmarks.md.

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/strata-csi/strata/hack/benchmarks"
)

const aboutPods = "`make e2e BENCH=1`, as root, measures this part alone, in a Kubernetes of two nodes with a Ceph, all on this machine, and leaves the rest\n" +
	`of the page as it is. From the request to make a pod until the API server says that it is ready. Kubernetes, the container runtime and the driver share the processors;
an emptyDir is what Kubernetes itself takes.

`

// measure runs the benchmarks and writes their part of the page: of a whole run only.
func (r *Run) measure(ctx context.Context, args []string) error {
	file := r.path(".strata", "e2e", "figures.md")
	if err := os.Setenv("STRATA_E2E_FIGURES", file); err != nil {
		return err
	}
	before, begin := benchmarks.LoadAverage(), time.Now()
	if err := r.cluster(ctx, args...); err != nil {
		return err
	}
	figures, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	machine := benchmarks.Describe(r.root, [2]string{"Kubernetes", benchmarks.Tool(r.path(".strata", "kube", "bin", "kubelet"), "--version")})
	machine = append(machine, [2]string{"load average", before + " before, " + benchmarks.LoadAverage() + " after"},
		[2]string{"duration", time.Since(begin).Round(time.Second).String()})
	part := benchmarks.PodsHeading + "\n" + aboutPods + machine.Markdown() + string(figures)
	fmt.Print(part)
	if r.only != "" {
		return nil
	}
	path := r.path("docs", "benchmarks.md")
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rest, _ := benchmarks.CutPods(string(page))
	return os.WriteFile(path, []byte(rest+part), 0o644)
}
