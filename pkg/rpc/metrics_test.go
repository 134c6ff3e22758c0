package rpc

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
)

// gauges are the metrics strata_* with the label of a method, by name and method.
func gauges(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if strings.HasPrefix(f.GetName(), "strata_") {
				all[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return all
}

func TestCallsInFlightAreShown(t *testing.T) {
	const method = "/csi.v1.Controller/CreateVolume"
	r := prometheus.NewPedanticRegistry()
	begun, end := make(chan struct{}), make(chan struct{})
	s := serve(t, Options{Registerer: r}, func(context.Context, string) error {
		close(begun)
		<-end
		return nil
	})
	got := gauges(t, r)
	if v, ok := got["strata_calls_in_flight "+method]; !ok || v != 0 {
		t.Errorf("before any call: %v", got)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.CreateVolume(t.Context(), &csi.CreateVolumeRequest{Name: "v"})
		done <- err
	}()
	<-begun
	got = gauges(t, r)
	if got["strata_calls_in_flight "+method] != 1 || got["strata_stuck_calls "+method] != 0 || got["strata_calls_in_flight /csi.v1.Controller/DeleteVolume"] != 0 {
		t.Errorf("during a call: %v", got)
	}
	close(end)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// The answer may be back before the call is counted off.
	for deadline := time.Now().Add(10 * time.Second); gauges(t, r)["strata_calls_in_flight "+method] != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a call that has ended is still in flight")
		}
	}
}

func TestACallIsStuckAfterAMinute(t *testing.T) {
	now := time.Now()
	c := newCalls(func() []string { return nil })
	c.now = func() time.Time { return now }
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	c.begin("/m")
	now = now.Add(time.Minute)
	end := c.begin("/m")
	for _, step := range []struct {
		pass          time.Duration
		flying, stuck float64
	}{{0, 2, 0}, {time.Second, 2, 1}, {time.Minute, 2, 2}} {
		now = now.Add(step.pass)
		if got := gauges(t, r); got["strata_calls_in_flight /m"] != step.flying || got["strata_stuck_calls /m"] != step.stuck {
			t.Errorf("%v later: %v", step.pass, got)
		}
	}
	end()
	if got := gauges(t, r); got["strata_stuck_calls /m"] != 1 {
		t.Errorf("after the end of one: %v", got)
	}
}
