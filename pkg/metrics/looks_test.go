package metrics

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// values are all metrics of a registry, by name and label values.
func values(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			if f.GetType() == dto.MetricType_COUNTER {
				all[key] = m.GetCounter().GetValue()
			} else {
				all[key] = m.GetGauge().GetValue()
			}
		}
	}
	return all
}

func TestLooksTellHowTheyAreDoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Looks
		r := prometheus.NewPedanticRegistry()
		r.MustRegister(&l)
		var broken atomic.Bool
		var looked atomic.Int32
		l.Add(Look{Name: "disks", Every: time.Minute, Limit: 20 * time.Second, Do: func(context.Context) error {
			looked.Add(1)
			if broken.Load() {
				return errors.New("no disk")
			}
			return nil
		}})
		never := make(chan struct{})
		l.Add(Look{Name: "stuck", Every: time.Minute, Limit: 20 * time.Second, Do: func(context.Context) error { <-never; return nil }})
		l.Add(Look{Name: "slow", Every: time.Minute, Limit: 20 * time.Second, Do: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		before := values(t, r)
		if before["strata_look_last_success_timestamp_seconds disks"] != 0 || before["strata_look_interval_seconds disks"] != 60 {
			t.Errorf("before: %v", before)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		begun := float64(time.Now().Unix())
		go func() { done <- l.Run(ctx) }()

		time.Sleep(90 * time.Second)
		got := values(t, r)
		for name, want := range map[string]float64{
			"strata_look_last_success_timestamp_seconds disks": begun + 60, "strata_look_errors_total disks": 0,
			"strata_look_last_success_timestamp_seconds stuck": 0, "strata_look_duration_seconds stuck": 90, "strata_look_errors_total stuck": 0,
			"strata_look_errors_total slow": 2, "strata_look_duration_seconds slow": 20,
		} {
			if got[name] != want {
				t.Errorf("%s: %v, want %v", name, got[name], want)
			}
		}
		if n := looked.Load(); n != 2 {
			t.Errorf("looked %d times in 90 seconds", n)
		}
		broken.Store(true)
		time.Sleep(time.Minute)
		got = values(t, r)
		if got["strata_look_errors_total disks"] != 1 || got["strata_look_last_success_timestamp_seconds disks"] != begun+60 {
			t.Errorf("after an error: %v", got)
		}
		stop()
		if err := <-done; err != nil { // although one is stuck
			t.Error(err)
		}
		close(never)
	})
}

func TestACollectorThatFailsTakesNothingElseWithIt(t *testing.T) {
	r := NewRegistry()
	broken := prometheus.NewDesc("strata_broken", "Broken.", nil, nil)
	r.MustRegister(failing{broken})
	url := start(t, Options{Gatherer: r})
	for range 2 { // the error of the first is seen in the second
		code, body := get(t, url+"/metrics")
		if code != http.StatusOK || !strings.Contains(body, "strata_build_info") {
			t.Fatalf("%d:\n%s", code, body)
		}
	}
	if _, body := get(t, url+"/metrics"); !strings.Contains(body, `promhttp_metric_handler_errors_total{cause="gathering"} 2`) {
		t.Errorf("the errors aren't counted:\n%s", body)
	}
}

type failing struct{ desc *prometheus.Desc }

func (f failing) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }
func (f failing) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(f.desc, errors.New("no disk"))
}

func TestVolumesAddsUpItsSources(t *testing.T) {
	var v Volumes
	v.Add(func() map[Group]Sum {
		return map[Group]Sum{{Tier: "scratch", Pool: "nvme", Class: "fast"}: {Count: 2, Bytes: 30, Used: -1}}
	})
	v.Add(func() map[Group]Sum {
		return map[Group]Sum{{Tier: "warm", Team: "vision", Pool: "ec"}: {Count: 1, Bytes: 100, Used: 7}}
	})
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(&v)
	got := values(t, r) // labels in the order of their names: class, pool, team, tier
	for name, want := range map[string]float64{
		"strata_volumes fast nvme  scratch": 2, "strata_volume_bytes fast nvme  scratch": 30,
		"strata_volumes  ec vision warm": 1, "strata_volume_bytes  ec vision warm": 100, "strata_volume_used_bytes  ec vision warm": 7,
	} {
		if got[name] != want {
			t.Errorf("%q: %v, want %v in %v", name, got[name], want, got)
		}
	}
	if len(got) != 5 {
		t.Errorf("%d metrics: %v", len(got), got)
	}
}
