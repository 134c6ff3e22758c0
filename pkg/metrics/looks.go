package metrics

// What has to be asked for a metric, such as a disk, a mount or a cluster, may take long or for ever to answer. So no scrape asks
// anything: it reads what a look in the background found last, and how that look itself is doing.

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"
)

// Look is something that is looked at every so often.
type Look struct {
	Name  string        // value of the label look; one of few
	Every time.Duration // between two beginnings
	Limit time.Duration // of one look; its context ends then
	Do    func(context.Context) error
}

// Looks are all that a program looks at, and the metrics of the looks themselves. The zero value is ready.
type Looks struct {
	mu  sync.Mutex
	all []*looking
}

// looking is a Look and how it went; its mutex is that of Looks.
type looking struct {
	Look
	begun   time.Time // of the one that runs; zero: none does
	success time.Time // of the last one that found what it looked for
	took    time.Duration
	errors  int
	said    string // the last error that was logged
}

// Add adds a Look, before Run.
func (l *Looks) Add(look Look) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, &looking{Look: look})
}

// Run looks until ctx ends. A look that doesn't return, whatever its context says, holds up nobody but itself: no second one of its name is
// begun, and the age of its last success tells.
func (l *Looks) Run(ctx context.Context) error {
	l.mu.Lock()
	all := l.all
	l.mu.Unlock()
	var group errgroup.Group
	for _, one := range all {
		group.Go(func() error {
			tick := time.NewTicker(one.Every)
			defer tick.Stop()
			for {
				if !l.once(ctx, one) {
					return nil
				}
				select {
				case <-ctx.Done():
					return nil
				case <-tick.C:
				}
			}
		})
	}
	return group.Wait()
}

// once looks and waits for the end of it, or of ctx: false.
func (l *Looks) once(ctx context.Context, one *looking) bool {
	begun := time.Now()
	l.mu.Lock()
	one.begun = begun
	l.mu.Unlock()
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, one.Limit)
		defer cancel()
		ended <- one.Do(ctx)
	}()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		return false
	}
	if ctx.Err() != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	one.begun, one.took = time.Time{}, time.Since(begun)
	said := ""
	if err == nil {
		one.success = time.Now()
	} else {
		one.errors++
		said = err.Error()
	}
	if said != one.said && said != "" {
		klog.FromContext(ctx).Error(err, "What metrics are made of can't be looked at; it is said again when it changes", "look", one.Name)
	}
	one.said = said
	return true
}

var (
	lookSuccess = prometheus.NewDesc("strata_look_last_success_timestamp_seconds",
		"Unix time at which the look in the background, from which metrics are made, last found everything; 0: never yet.", []string{"look"}, nil)
	lookDuration = prometheus.NewDesc("strata_look_duration_seconds",
		"How long the last look took, or the one that runs has taken by now, whichever is more.", []string{"look"}, nil)
	lookInterval = prometheus.NewDesc("strata_look_interval_seconds", "How often it looks.", []string{"look"}, nil)
	lookErrors   = prometheus.NewDesc("strata_look_errors_total", "Looks that failed, in whole or in part.", []string{"look"}, nil)
)

// Describe makes Looks a prometheus.Collector.
func (l *Looks) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lookSuccess, lookDuration, lookInterval, lookErrors} {
		ch <- d
	}
}

// Collect makes Looks a prometheus.Collector.
func (l *Looks) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.all {
		took, success := one.took, 0.0
		if !one.begun.IsZero() {
			took = max(took, time.Since(one.begun))
		}
		if !one.success.IsZero() {
			success = float64(one.success.UnixMilli()) / 1000
		}
		ch <- prometheus.MustNewConstMetric(lookSuccess, prometheus.GaugeValue, success, one.Name)
		ch <- prometheus.MustNewConstMetric(lookDuration, prometheus.GaugeValue, took.Seconds(), one.Name)
		ch <- prometheus.MustNewConstMetric(lookInterval, prometheus.GaugeValue, one.Every.Seconds(), one.Name)
		ch <- prometheus.MustNewConstMetric(lookErrors, prometheus.CounterValue, float64(one.errors), one.Name)
	}
}
