//go:build e2e

package e2e

// How fast pods with volumes start, beside pods without. Measured only when asked for: go test -bench, by `make e2e BENCH=1`.

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	startRounds = 20 // pods of each kind, in turns
	crowd       = 50 // pods at once
)

func emptyDir(at string) mount {
	return mount{at: at, volume: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// BenchmarkPodStart starts the same pod with emptyDirs and with volumes of every tier in turns, alone on its node, from the request to make it
// until it is ready.
func BenchmarkPodStart(b *testing.B) {
	s := newSpace(b)
	node := k.nodes[0]
	s.claim("shared", warm, "1Gi", corev1.ReadWriteMany)
	s.claim("data", cold, "1Gi", corev1.ReadWriteMany)
	s.bound("shared")
	s.bound("data")
	kinds := []struct {
		name   string
		mounts []mount
		took   []time.Duration
	}{
		{name: "three emptyDirs", mounts: []mount{emptyDir("/shared"), emptyDir("/data"), emptyDir("/scratch")}},
		{name: "a warm claim, a cold claim and an inline scratch volume",
			mounts: []mount{claimed("shared", "/shared"), claimed("data", "/data"), inline("default", "1Gi", "/scratch")}},
	}
	calls := s.nodeCalls(node)
	w := s.watchPods()
	for b.Loop() {
		for i := range startRounds {
			for j := range kinds {
				kind := &kinds[(i+j)%len(kinds)]
				start := time.Now()
				s.create(s.pod("starts", node, kind.mounts...))
				kind.took = append(kind.took, w.ready("starts").Sub(start))
				s.ready("starts").remove()
			}
		}
	}
	own := s.nodeCalls(node).since(calls)
	t := figures.table("### A pod's start", "pod with", "p50", "p95", "p50 ÷ emptyDirs")
	for _, kind := range kinds {
		t.row(kind.name, ms(percentile(kind.took, 50)), ms(percentile(kind.took, 95)), fmt.Sprintf("%.2f", ratio(percentile(kind.took, 50), percentile(kinds[0].took, 50))))
		b.ReportMetric(percentile(kind.took, 50).Seconds(), strings.ReplaceAll(kind.name, " ", "-")+"-s/pod")
	}
	n := float64(len(kinds[1].took))
	t.after("%d pods of each kind, one after the other in turns, on one node. Of a pod with volumes the driver's own calls on the node, mean of all: %s.", len(kinds[0].took),
		own.each(n))
}

// BenchmarkManyPods makes pods with a volume each, all at once, from the first request until the last pod is ready.
func BenchmarkManyPods(b *testing.B) {
	t := figures.table(fmt.Sprintf("### %d pods at once", crowd), "a pod with", "all ready after", "p50", "p95", "warnings")
	for _, kind := range []struct {
		name   string
		volume func(s *space, pod string) mount
	}{
		{"an emptyDir", func(*space, string) mount { return emptyDir("/data") }},
		{"an inline scratch volume", func(*space, string) mount { return inline("default", "100Mi", "/data") }},
		{"a scratch claim of its own", func(*space, string) mount { return generic(scratch, "100Mi", "/data") }},
		{"a warm claim of its own", func(*space, string) mount { return generic(warm, "100Mi", "/data") }},
		{"a cold claim of its own", func(*space, string) mount { return generic(cold, "100Mi", "/data") }},
		{"one warm claim for all", func(s *space, _ string) mount { return claimed("shared", "/data") }},
	} {
		b.Run(strings.ReplaceAll(kind.name, " ", "-"), func(b *testing.B) {
			s := newSpace(b)
			s.claim("shared", warm, "1Gi", corev1.ReadWriteMany)
			s.bound("shared")
			w := s.watchPods()
			for b.Loop() {
				var took []time.Duration
				begin, started := time.Now(), map[string]time.Time{}
				for i := range crowd {
					name := fmt.Sprintf("pod-%02d", i)
					started[name] = time.Now()
					s.create(s.pod(name, "", kind.volume(s, name)))
				}
				for name, start := range started {
					took = append(took, w.ready(name).Sub(start))
				}
				all := time.Since(begin)
				t.row(kind.name, fmt.Sprintf("%.1f s", all.Seconds()), ms(percentile(took, 50)), ms(percentile(took, 95)), fmt.Sprint(s.warnings()))
				b.ReportMetric(all.Seconds(), "s/all")
			}
		})
	}
	t.after("%d pods, made one right after the other and spread over two nodes by the scheduler. The claims are made with the pods, so that the time of making the volumes counts. "+
		"Warnings are events of that type in the pods' namespace, whatever they say: kubelet and the scheduler try again.", crowd)
}

// podWatch keeps when every pod of a namespace was first seen ready.
type podWatch struct {
	s     *space
	watch watch.Interface
	seen  map[string]time.Time
}

func (s *space) watchPods() *podWatch {
	s.Helper()
	w, err := k.client.CoreV1().Pods(s.name).Watch(s.ctx, metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(w.Stop)
	return &podWatch{s: s, watch: w, seen: map[string]time.Time{}}
}

// ready waits until a pod is seen ready, and returns when that was.
func (w *podWatch) ready(name string) time.Time {
	w.s.Helper()
	limit := time.After(patience)
	for {
		if at, ok := w.seen[name]; ok {
			delete(w.seen, name)
			return at
		}
		select {
		case <-limit:
			w.s.Fatalf("pod %s isn't ready after %s", name, patience)
		case e, ok := <-w.watch.ResultChan():
			if !ok {
				w.s.Fatal("the API server has ended the watch of the pods")
			}
			p, isPod := e.Object.(*corev1.Pod)
			if !isPod || e.Type == watch.Deleted || p.DeletionTimestamp != nil || readiness(p) != nil {
				continue
			}
			if _, known := w.seen[p.Name]; !known {
				w.seen[p.Name] = time.Now()
			}
		}
	}
}

// warnings counts the events of that type.
func (s *space) warnings() (n int) {
	s.Helper()
	list, err := k.client.CoreV1().Events(s.name).List(s.ctx, metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range list.Items {
		if e.Type == corev1.EventTypeWarning {
			say("  warning of %s: %s: %s", e.InvolvedObject.Name, e.Reason, e.Message)
			n++
		}
	}
	return n
}

// callTimes are the seconds that strata-node has spent in each CSI call that starts a pod.
type callTimes map[string]float64

func (s *space) nodeCalls(node string) callTimes {
	s.Helper()
	n, err := k.client.CoreV1().Nodes().Get(s.ctx, node, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	i := slices.IndexFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return a.Type == corev1.NodeInternalIP })
	res, err := http.Get(fmt.Sprintf("http://%s:9808/metrics", n.Status.Addresses[i].Address))
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.Fatalf("metrics of %s: %s %v", node, res.Status, err)
	}
	times := callTimes{}
	for _, m := range callSum.FindAllStringSubmatch(string(text), -1) {
		seconds, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			s.Fatal(err)
		}
		times[m[1]] += seconds
	}
	return times
}

var callSum = regexp.MustCompile(`(?m)^csi_plugin_operations_seconds_sum\{[^}]*method_name="/csi\.v1\.Node/(NodeStageVolume|NodePublishVolume)"[^}]*\} (\S+)$`)

func (c callTimes) since(before callTimes) callTimes {
	for method := range c {
		c[method] -= before[method]
	}
	return c
}

// each is what every pod had of it.
func (c callTimes) each(pods float64) string {
	var parts []string
	for method, seconds := range c {
		parts = append(parts, fmt.Sprintf("%s %.0f ms", method, seconds/pods*1000))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
