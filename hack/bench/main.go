// Command bench (make bench) measures what Strata costs on top of Ceph and of local disks: every figure of the driver stands beside its
// floor, the bare commands, calls or mounts it can't do without, or beside other clients of the same store, taken in the same run, in turns. It starts a Ceph, an S3 server, a controller and nodes
// of its own and leaves nothing behind, however it ends. It asserts nothing about time: a slow machine gives slow figures, not failures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/strata-csi/strata/hack/stack"
)

const usage = `Measure Strata beside bare Ceph, bare disks and other clients of S3. Run it from the checkout, as root:

  make bench                     everything, about half an hour; rewrites docs/benchmarks.md
  bin/hack-bench -quick          a smoke run, about seven minutes: that it works, not what it costs
  bin/hack-bench -only calls     only a part: calls, mounts, data, scratch, lab or cold; several with commas
  bin/hack-bench -only scratch -write
                                 only tier scratch, without Ceph, about six minutes; rewrites that part of docs/benchmarks.md
  bin/hack-bench -only lab -write
                                 only tier scratch in the emulated machine, about eight minutes, likewise
  bin/hack-bench -only cold -write
                                 only tier cold, likewise; all three: -only scratch,lab,cold
  bin/hack-bench down            clear away what a run left that was killed

What is measured, at 1, 8 and 32 callers:
  calls    CreateVolume, CreateSnapshot and DeleteVolume; the floor is the one command to Ceph's manager that each can't do without
  mounts   NodeStageVolume + NodePublishVolume, and back; the floor is a bare ceph-fuse and a bind mount
  data     fio in a published volume; the floor is fio in a bare ceph-fuse mount of another subvolume of the same pool
  scratch  an inline volume of 1 GiB published and unpublished, of kind loop and of kind btrfs; the floor is the same made by the bare calls to
           the kernel and mkfs; and fio in one beside the disk's own file system
  lab      the same of kind lvm and of kind xfs, in an emulated machine, as this machine's kernel may not have what they need: only ratios mean anything
  cold     reading, writing and listing through a published volume, beside rclone mount and s3fs (which it installs) and a raw S3 client, on one server

The driver and what it is compared with take turns, in several rounds: compare a figure with the one beside it, not with another run's. Close other
programs first; the table says how busy the machine was. Everything is below .strata/bench, the caches of part cold in a directory of /tmp, and on ports 23000-23199 of 127.0.0.1.

Flags:
`

const portBase = 23000

// options are the flags.
type options struct {
	quick bool
	write bool
	only  string
	tick  time.Duration
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "one short round of everything")
	flag.BoolVar(&o.write, "write", false, "rewrite docs/benchmarks.md, or with -only scratch, lab or cold that part of it")
	flag.StringVar(&o.only, "only", "", "parts to measure: calls,mounts,data,scratch,lab,cold")
	flag.DurationVar(&o.tick, "tick", time.Second/5, "how often the metadata server commits what nobody waits for (mds_tick_interval; Ceph's default is 5s)")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(o, flag.Args()); err != nil {
		if errors.Is(err, context.Canceled) {
			fmt.Println("\ninterrupted; everything is cleared away")
			os.Exit(130)
		}
		fmt.Fprintln(os.Stderr, "\nbench:", err)
		os.Exit(1)
	}
}

func run(o options, args []string) (err error) {
	parts, err := partsOf(o.only)
	if err != nil {
		return err
	}
	if o.tick <= 0 {
		return errors.New("-tick must be more than 0")
	}
	if o.write && (o.quick || o.only != "" && slices.ContainsFunc(parts, needsCeph)) {
		return errors.New("-write is for a whole run, or for -only with scratch, lab and cold, without -quick")
	}
	s, err := stack.New("bench", portBase)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "down":
		return s.Down()
	case len(args) > 0:
		return fmt.Errorf("unknown argument %q; see -help", args[0])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	b := &bench{Stack: s, plan: full(), tick: strconv.FormatFloat(o.tick.Seconds(), 'g', -1, 64)}
	if o.quick {
		b.plan = quick()
	}
	defer func() {
		if ctx.Err() != nil {
			err = context.Canceled
		}
		err = errors.Join(err, b.end(), s.Down())
	}()
	r, err := b.measure(ctx, parts)
	if err != nil {
		return err
	}
	fmt.Print("\n", r.Text())
	if o.write {
		path := s.Path("docs/benchmarks.md")
		page, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, []byte(r.Markdown(string(page))), 0o644); err != nil {
			return err
		}
		fmt.Println("\nwritten to docs/benchmarks.md")
	}
	return nil
}
