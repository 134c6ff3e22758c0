package main

// What a comparison is made of, and what is said of it.

import (
	"slices"
	"time"

	"github.com/strata-csi/strata/hack/bench/callers"
)

// figure compares the driver with its floor, and maybe other things with it too.
type figure struct {
	Name    string
	Callers int
	Unit    string // of the rate: "/s" or "MB/s"
	Sides   []*side
}

// side is one thing that was measured, round by round. The first side of a figure is the driver, the second its floor.
type side struct {
	Name   string
	rounds []block
}

// block is what one round gave.
type block struct {
	each []time.Duration // may be empty: then p50 and p95 are given
	p50  time.Duration
	p95  time.Duration
	rate float64
}

func newFigure(name string, callers int, unit string, sides ...string) *figure {
	f := &figure{Name: name, Callers: callers, Unit: unit}
	for _, s := range sides {
		f.Sides = append(f.Sides, &side{Name: s})
	}
	return f
}

// add keeps the block of operations of a round.
func (s *side) add(b callers.Sample) {
	s.rounds = append(s.rounds, block{each: b.Each, p50: quantile(b.Each, 0.50), p95: quantile(b.Each, 0.95),
		rate: float64(len(b.Each)) / b.Took.Seconds()})
}

// P50 is the median of all operations, where each was measured, or of the rounds' medians.
func (s *side) P50() time.Duration {
	return s.quantile(0.50, func(b block) time.Duration { return b.p50 })
}

// P95 is as P50, of the 95th percentile.
func (s *side) P95() time.Duration {
	return s.quantile(0.95, func(b block) time.Duration { return b.p95 })
}

func (s *side) quantile(q float64, given func(block) time.Duration) time.Duration {
	var all, rounds []time.Duration
	for _, b := range s.rounds {
		all = append(all, b.each...)
		rounds = append(rounds, given(b))
	}
	if len(all) > 0 {
		return quantile(all, q)
	}
	return quantile(rounds, 0.50)
}

// Rate is the median of the rounds' rates.
func (s *side) Rate() float64 { return median(s.ratesOf()) }

func (s *side) ratesOf() []float64 {
	var rates []float64
	for _, b := range s.rounds {
		rates = append(rates, b.rate)
	}
	return rates
}

// Ratio says how much of the floor's something a side has: the median of the rounds, and the least and the greatest.
type Ratio struct{ Median, Least, Greatest float64 }

// Ratio compares the rates of side i with those of the floor, round by round: what is taken right after one another had the same
// machine. 1.1 means that an operation took 1.1 times the floor's time.
func (f *figure) Ratio(i int) Ratio {
	return f.ratio(i, func(s, floor block) float64 { return floor.rate / s.rate })
}

// LatencyRatio compares the medians of single operations in the same way.
func (f *figure) LatencyRatio(i int) Ratio {
	return f.ratio(i, func(s, floor block) float64 { return float64(s.p50) / float64(floor.p50) })
}

func (f *figure) ratio(i int, of func(s, floor block) float64) Ratio {
	var all []float64
	for n, b := range f.Sides[i].rounds {
		all = append(all, of(b, f.Sides[1].rounds[n]))
	}
	if len(all) == 0 {
		return Ratio{}
	}
	return Ratio{Median: median(all), Least: slices.Min(all), Greatest: slices.Max(all)}
}

// quantile is the value that a share q of all doesn't exceed (nearest rank); 0 of none.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	rank := int(q*float64(len(sorted)) + 0.999999)
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// median of none is 0; of an even number it is the mean of the middle two.
func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
