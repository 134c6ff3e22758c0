// Command demo (make demo) shows what Strata is for on one machine: a real Ceph, a controller and two nodes, a team's volume written on
// one node and read on the other, its quota and its place in Ceph, a snapshot and what can be done with it; then a checkpoint in an S3 bucket, and pods' own
// volumes on local disks. It ends with a table of what it did and leaves nothing behind, however it ends; `demo down` clears away after a power cut.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/strata-csi/strata/hack/stack"
)

const usage = `Show a shared volume on two nodes, a checkpoint in S3, and pods' own volumes on local disks. Run it from the checkout, as root:

  go run ./hack/demo up          everything, about two minutes (make demo)
  go run ./hack/demo -keep up    the same, and wait for ctrl-C before ending it (make demo KEEP=1)
  go run ./hack/demo down        clear away what a demo left that was killed (make demo-down)

Everything is below .strata/demo and on 200 ports of 127.0.0.1, 22000-22199 unless -port-base says otherwise: a second demo, in another
checkout, needs others.
`

const portBase = 22000

func main() {
	keep := flag.Bool("keep", false, "")
	port := flag.Int("port-base", portBase, "")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	if err := run(flag.Arg(0), *port, *keep); err != nil {
		if errors.Is(err, context.Canceled) {
			fmt.Println("\ninterrupted; everything is cleared away")
			os.Exit(130)
		}
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(verb string, port int, keep bool) (err error) {
	s, err := stack.New("demo", port)
	if err != nil {
		return err
	}
	d := &demo{Stack: s}
	switch verb {
	case "up":
	case "down":
		return d.Down()
	default:
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer func() {
		if ctx.Err() != nil {
			err = context.Canceled
		}
		err = errors.Join(err, d.Down())
	}()
	if err := d.up(ctx); err != nil {
		return err
	}
	d.table()
	if keep {
		d.lookAround()
		<-ctx.Done()
	}
	return nil
}
