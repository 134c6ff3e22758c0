package main

// The sub-programs about the keys of volumes: `strata-controller rotate` and `strata-controller fence`. kubectl-strata runs them in the
// controller's container.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/driver"
	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

var keysUsage = map[string]string{
	"rotate": `strata-controller rotate VOLUME_ID... gives volumes with identity: volume a new key. What has mounted them goes on with
the old one, what mounts them from now on uses the new. With --retire it removes the old ones instead.
`,
	"fence": `strata-controller fence VOLUME_ID... takes volumes with identity: volume from everybody who has them: their keys are
removed and the clients that have them mounted are shut out. With --undo it gives them a new key.
`,
}

// keysMain is the program when its first argument is one of keysUsage, and returns its exit code: 0 when it prints what was done, which
// may be an error for each volume.
func keysMain(program string, args []string) int {
	err := runKeys(program, args, os.Stdout)
	if err == nil || errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	fmt.Fprintf(os.Stderr, "strata-controller %s: %v\n", program, err)
	return 2
}

func runKeys(program string, args []string, out io.Writer) error {
	var o driver.ControllerOptions
	flags := pflag.NewFlagSet("strata-controller "+program, pflag.ContinueOnError)
	limit := keeperFlags(flags, &o)
	var retire, force, undo bool
	if program == "rotate" {
		flags.BoolVar(&retire, "retire", false, "remove the keys before the newest; refused while a client uses one")
		flags.BoolVar(&force, "force", false, "with --retire: don't look whether a client uses them")
	} else {
		flags.BoolVar(&undo, "undo", false, "give a fenced volume a new key")
	}
	flags.Usage = func() {
		fmt.Fprint(os.Stderr, keysUsage[program], "It prints what it did as JSON.\n\nFlags:\n", flags.FlagUsages())
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() == 0:
		return errors.New("it takes the ids of volumes; kubectl strata volumes -o wide lists them")
	case force && !retire:
		return errors.New("--force is for --retire")
	}
	ids, err := parseIDs(flags.Args())
	if err != nil {
		return err
	}
	return printDone(o, *limit, out, func(ctx context.Context, backend *warm.Backend) any {
		list := inspect.NewKeyList()
		for _, id := range ids {
			var f warm.Fenced
			var err error
			switch {
			case retire:
				f.Keys, err = backend.Retire(ctx, id, force)
			case program == "rotate":
				f.Keys, err = backend.Rotate(ctx, id)
			case undo:
				f.Keys, err = backend.Unfence(ctx, id)
			default:
				f, err = backend.Fence(ctx, id)
			}
			list.Volumes = append(list.Volumes, shown(id, f, err))
		}
		return list
	})
}

// printDone has do work at tier warm, for so long at most, and prints what it returns as JSON.
func printDone(o driver.ControllerOptions, limit time.Duration, out io.Writer, do func(context.Context, *warm.Backend) any) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// Without an instance, as inspect: it must be able to run beside the controller.
	backend, err := driver.OpenWarm(o, func(ctx context.Context, c clusters.Cluster) (ceph.Conn, error) { return dial(ctx, c, "") })
	if err != nil {
		return err
	}
	defer backend.Close()
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(do(ctx, backend))
}

// shown is what was done with a volume, as a document.
func shown(id volume.ID, f warm.Fenced, err error) inspect.Keys {
	k := inspect.Keys{Volume: string(id), Former: entities(f.Keys.Former), Retired: entities(f.Keys.Retired), Fenced: f.Keys.Fenced}
	if f.Keys.User != "" {
		k.User = "client." + f.Keys.User
	}
	for _, s := range f.ShutOut {
		k.ShutOut = append(k.ShutOut, inspect.Client{Address: s.Address, Host: s.Host, User: s.User, Path: s.Root})
	}
	if err != nil {
		k.Error = err.Error()
	}
	return k
}

func entities(users []string) []string {
	list := []string{}
	for _, u := range users {
		list = append(list, "client."+u)
	}
	return list
}
