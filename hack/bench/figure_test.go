package main

import (
	"testing"
	"time"

	"github.com/strata-csi/strata/hack/bench/callers"
)

func ms(all ...int) []time.Duration {
	var out []time.Duration
	for _, n := range all {
		out = append(out, time.Duration(n)*time.Millisecond)
	}
	return out
}

func TestQuantileIsOneOfTheValues(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for name, tt := range map[string]struct {
		of   []time.Duration
		q    float64
		want int
	}{
		"none":             {nil, 0.5, 0},
		"one":              {ms(7), 0.95, 7},
		"median of three":  {ms(3, 1, 2), 0.5, 2},
		"median of four":   {ms(4, 3, 2, 1), 0.5, 2},
		"p95 of a hundred": {ms(hundred...), 0.95, 95},
		"p95 of twenty":    {ms(hundred[80:]...), 0.95, 19},
		"p95 of a few":     {ms(1, 2, 3), 0.95, 3},
	} {
		t.Run(name, func(t *testing.T) {
			if got := quantile(tt.of, tt.q); got != time.Duration(tt.want)*time.Millisecond {
				t.Errorf("quantile = %s, want %d ms", got, tt.want)
			}
		})
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	f := newFigure("x", 1, "/s", "driver", "floor")
	// The machine gets slower by the round; the driver takes 1.1, 1.2 and 1.5 of the floor's time.
	for _, r := range [][2]int{{110, 100}, {600, 500}, {1500, 1000}} {
		f.Sides[driver].add(callers.Sample{Each: ms(r[0]), Took: time.Duration(r[0]) * time.Millisecond})
		f.Sides[bare].add(callers.Sample{Each: ms(r[1]), Took: time.Duration(r[1]) * time.Millisecond})
	}
	for name, got := range map[string]Ratio{"latency": f.LatencyRatio(driver), "rate": f.Ratio(driver)} {
		if s := got.String(); s != "1.20 (1.10–1.50)" {
			t.Errorf("%s: %s", name, s)
		}
	}
	if s := f.share(driver).String(); s != "0.83 (0.67–0.91)" {
		t.Errorf("share: %s", s)
	}
	if got := f.Sides[driver].P50(); got != 600*time.Millisecond {
		t.Errorf("p50 = %s", got)
	}
}

func TestTurnsBeginWithAnotherSideEachRound(t *testing.T) {
	var order string
	side := func(name string) func() error { return func() error { order += name; return nil } }
	for round := range 4 {
		if err := turns(round, side("a"), side("b"), side("c")); err != nil {
			t.Fatal(err)
		}
	}
	if order != "abcbcacababc" {
		t.Errorf("order %s", order)
	}
}
