package main

// What runs and what answers.

import (
	"context"
	"fmt"
	"io"
	"time"
)

// health is the part of "ceph status" that is looked at.
type health struct {
	Health struct {
		Status string `json:"status"`
		Checks map[string]struct {
			Summary struct {
				Message string `json:"message"`
			} `json:"summary"`
		} `json:"checks"`
	} `json:"health"`
	OSDMap struct {
		Total int `json:"num_osds"`
		Up    int `json:"num_up_osds"`
		In    int `json:"num_in_osds"`
	} `json:"osdmap"`
	PGMap struct {
		States []struct {
			Name  string `json:"state_name"`
			Count int    `json:"count"`
		} `json:"pgs_by_state"`
		PGs   int    `json:"num_pgs"`
		Used  uint64 `json:"bytes_used"`
		Avail uint64 `json:"bytes_avail"`
	} `json:"pgmap"`
}

// pgsClean tells whether all placement groups are active and clean, and otherwise in what states they are.
func (h health) pgsClean() (bool, string) {
	states, clean := "", 0
	for _, s := range h.PGMap.States {
		if s.Name == "active+clean" {
			clean = s.Count
		}
		states += fmt.Sprintf(" %d %s", s.Count, s.Name)
	}
	return h.PGMap.PGs > 0 && clean == h.PGMap.PGs, fmt.Sprintf("%d placement groups:%s", h.PGMap.PGs, states)
}

// waitPGs waits until every OSD is up and every placement group active and clean.
func waitPGs(ctx context.Context, l Layout) error {
	return poll(ctx, 500*time.Millisecond, func() (bool, string, error) {
		var h health
		if err := cephJSON(ctx, l, &h, "status"); err != nil {
			return false, err.Error(), nil
		}
		clean, states := h.pgsClean()
		return clean && h.OSDMap.Up == osdCount, fmt.Sprintf("the pools (%d of %d OSDs up, %s)", h.OSDMap.Up, osdCount, states), nil
	})
}

// printStatus writes the state of daemons and cluster. It reports whether everything runs and answers.
func printStatus(ctx context.Context, l Layout, out io.Writer) (ok bool, err error) {
	ok = true
	running, err := runningDaemons(l)
	if err != nil {
		return false, err
	}
	for _, d := range allDaemons() {
		if p, up := running[d]; up && p.paused() {
			ok = false
			fmt.Fprintf(out, "%-7s paused   process %d\n", d, p.PID)
		} else if up {
			fmt.Fprintf(out, "%-7s running  process %d\n", d, p.PID)
		} else {
			ok = false
			fmt.Fprintf(out, "%-7s stopped\n", d)
		}
	}
	var h health
	if err := cephJSON(ctx, l, &h, "--connect-timeout", "5", "status"); err != nil {
		fmt.Fprintf(out, "cluster  no answer: %v\n", err)
		return false, nil
	}
	clean, states := h.pgsClean()
	fmt.Fprintf(out, "cluster  %s; %d OSDs, %d up, %d in; %s; %d MiB used, %d MiB free\n", h.Health.Status, h.OSDMap.Total, h.OSDMap.Up, h.OSDMap.In,
		states, h.PGMap.Used>>20, h.PGMap.Avail>>20)
	for name, c := range h.Health.Checks {
		fmt.Fprintf(out, "         %s: %s\n", name, c.Summary.Message)
	}
	active, standbys, err := mdsRanks(ctx, l)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(out, "mds      active: %s; standbys: %d\n", active, standbys)
	rgw := rgwAnswers(ctx, l)
	if rgw == nil {
		fmt.Fprintf(out, "s3       %s\n", l.S3Endpoint())
	} else {
		fmt.Fprintf(out, "s3       no answer: %v\n", rgw)
	}
	return ok && clean && active != "" && standbys > 0 && rgw == nil, nil
}
