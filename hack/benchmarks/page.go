package benchmarks

// The page docs/benchmarks.md. `make bench` writes all of it but its last part, which `make e2e BENCH=1` writes.

import "strings"

// PodsHeading begins the last part of the page.
const PodsHeading = "\n## Pods in Kubernetes\n"

// CutPods parts the page before its last part, which is empty where there is none.
func CutPods(page string) (before, pods string) {
	before, pods, found := strings.Cut(page, PodsHeading)
	if found {
		pods = PodsHeading + pods
	}
	return before, pods
}
