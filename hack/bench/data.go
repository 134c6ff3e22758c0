package main

// Reading and writing through a published volume beside a bare mount, with fio.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// workload is one run of fio. A sequential one goes through all caches, as most programs do, and a written file counts when it is in Ceph; a random one goes
// around the client's caches (O_DIRECT), with several jobs.
type workload struct {
	name, mode string
	random     bool
	fresh      bool // in a client that has nothing of the file in its memory yet
	depth      int  // more than 0: a local disk, around all caches also when sequential, so many requests at once by each job
}

var workloads = []workload{
	{name: "sequential write, 1 MiB", mode: "write"},
	{name: "sequential read, 1 MiB", mode: "read", fresh: true},
	{name: "random write, 4 KiB", mode: "randwrite", random: true},
	{name: "random read, 4 KiB", mode: "randread", random: true},
}

// jobs is how many programs do random I/O at once.
const jobs = 8

func (b *bench) data(ctx context.Context) ([]*figure, error) {
	b.Step("data: making a volume")
	p, err := b.places(ctx, "data", 1)
	if err != nil {
		return nil, err
	}
	sides := []struct {
		path           string
		mount, unmount func(context.Context, int) error
	}{
		driver: {b.Nodes[0].Target(p.name(0)), b.publish(p), b.unpublish(p)},
		bare:   {p.bare[0].target, b.mountBare(p), b.unmountBare(p)},
	}
	var figures []*figure
	for _, w := range workloads {
		unit := "MB/s"
		if w.random {
			unit = "IOPS"
		}
		figures = append(figures, newFigure(w.name, w.callers(), unit, "Strata", "bare ceph-fuse"))
	}
	for _, s := range sides {
		if err := s.mount(ctx, 0); err != nil {
			return nil, err
		}
	}
	err = b.rounds(ctx, partData, func(ctx context.Context, round int) error {
		for i, w := range workloads {
			var both []func() error
			for n, s := range sides {
				both = append(both, func() error {
					if w.fresh {
						if err := s.unmount(ctx, 0); err != nil {
							return err
						}
						if err := s.mount(ctx, 0); err != nil {
							return err
						}
					}
					got, err := b.fio(ctx, w, s.path)
					if err != nil {
						return fmt.Errorf("%s, %s: %w", w.name, figures[i].Sides[n].Name, err)
					}
					figures[i].Sides[n].rounds = append(figures[i].Sides[n].rounds, got)
					return nil
				})
			}
			if err := turns(round, both...); err != nil {
				return err
			}
			rate := func(n int) float64 { return figures[i].Sides[n].rounds[round].rate }
			b.Step("data, round %d: %s: %.0f %s (floor %.0f)", round+1, w.name, rate(driver), figures[i].Unit, rate(bare))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, s := range sides {
		if err := s.unmount(ctx, 0); err != nil {
			return nil, err
		}
	}
	return figures, b.remove(ctx, p)
}

func (w workload) callers() int {
	if w.random && w.depth == 0 {
		return jobs
	}
	return 1
}

// dataFile is what fio works on in a directory.
const dataFile = "data"

// fioArgs are the arguments of fio for a workload in a directory: a file of so many bytes, read or written for so long where the workload isn't once through.
func fioArgs(w workload, dir string, size int64, runtime time.Duration) []string {
	args := []string{"--name=bench", "--filename=" + filepath.Join(dir, dataFile), "--rw=" + w.mode, "--size=" + strconv.FormatInt(size, 10),
		"--output-format=json", "--randrepeat=0"}
	if w.random || w.depth > 0 {
		args = append(args, "--direct=1", "--time_based", fmt.Sprintf("--runtime=%dms", runtime.Milliseconds()))
	}
	if w.depth > 0 {
		args = append(args, "--ioengine=libaio", "--iodepth="+strconv.Itoa(w.depth))
	} else {
		args = append(args, "--ioengine=psync")
	}
	switch {
	case w.random:
		args = append(args, "--bs=4k", "--numjobs="+strconv.Itoa(w.callers()), "--group_reporting")
	case w.depth > 0:
		args = append(args, "--bs=1m")
	default:
		args = append(args, "--bs=1m", "--end_fsync=1", "--invalidate=0")
	}
	return args
}

// fio runs a workload in a directory.
func (b *bench) fio(ctx context.Context, w workload, dir string) (block, error) {
	runtime := b.plan.fioTime
	if w.depth > 0 {
		runtime = b.plan.localTime
	}
	cmd := exec.CommandContext(ctx, "fio", fioArgs(w, dir, b.plan.fileSize, runtime)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return block{}, err
	}
	return fioResult(out, w)
}

// fioResult reads fio's JSON. Rates of sequential workloads are in MB/s, of random ones in operations per second.
func fioResult(out []byte, w workload) (block, error) {
	type direction struct {
		Bytes   int64   `json:"io_bytes"`
		Rate    float64 `json:"bw_bytes"`
		IOPS    float64 `json:"iops"`
		Latency struct {
			Percentile map[string]int64 `json:"percentile"` // ns
		} `json:"clat_ns"`
	}
	var answer struct {
		Jobs []struct {
			Error int       `json:"error"`
			Read  direction `json:"read"`
			Write direction `json:"write"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return block{}, fmt.Errorf("output of fio: %w", err)
	}
	if len(answer.Jobs) != 1 || answer.Jobs[0].Error != 0 {
		return block{}, fmt.Errorf("fio says: %s", out)
	}
	d := answer.Jobs[0].Read
	if d.Bytes == 0 {
		d = answer.Jobs[0].Write
	}
	got := block{rate: d.Rate / 1e6, p50: time.Duration(d.Latency.Percentile["50.000000"]), p95: time.Duration(d.Latency.Percentile["95.000000"])}
	if w.random {
		got.rate = d.IOPS
	}
	if got.rate == 0 || got.p50 == 0 {
		return block{}, fmt.Errorf("fio did nothing: %s", out)
	}
	return got, nil
}
