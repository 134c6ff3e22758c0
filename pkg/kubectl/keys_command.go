package kubectl

// The command line of rotate, and what it has in common with fence.

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func rotateCommand(o *options) *cobra.Command {
	var all, retire, force bool
	cmd := &cobra.Command{
		Use: "rotate VOLUME... | --all", Short: "Give volumes new keys without touching what runs, and retire the old ones",
		Long: `rotate gives warm volumes with "identity: volume" a new Ceph user with the same capabilities and puts its name and
key into the volume's Secret. Pods that run go on with the mount and the key that they have; the volume is mounted
with the new key where it is staged from now on: on a node where no pod has it yet, or after the last one has gone.

The old key keeps working until it is retired, which you decide: once the pods have been restarted, one node after
another if you like, "rotate --retire" removes it. It refuses, and removes nothing of that volume, while a client has
the volume mounted with an old key, and names the client. To see clients the controller needs the user for fencing
(docs/security.md); without it, or to remove the old keys all the same, --force. A client that is then still using
one hangs when its tickets end, within an hour. Has a key been stolen, fence the volume instead.

VOLUME is a PersistentVolume, NAMESPACE/CLAIM or a volume id. It may be repeated; interrupted, do it again.
Exit code: 0 done, 1 not with all volumes, 2 it couldn't be tried.`,
		Example: `  kubectl strata rotate vision/data
  kubectl rollout restart -n vision deployment/trainer
  kubectl strata rotate --retire vision/data
  kubectl strata rotate --all -o json | jq -r '.volumes[] | select(.error) | .pv + ": " + .error'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var flags []string
			switch {
			case all == (len(args) > 0):
				return errors.New("rotate takes volumes, or --all; see kubectl strata rotate --help")
			case force && !retire:
				return errors.New("--force is for --retire")
			case retire && force:
				flags = []string{"--retire", "--force"}
			case retire:
				flags = []string{"--retire"}
			}
			return o.run(cmd, func(ctx context.Context, c Clients) error {
				return o.changeKeys(ctx, cmd, c, "rotate", flags, args, all)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every volume with an identity of its own that a PersistentVolume has")
	cmd.Flags().BoolVar(&retire, "retire", false, "remove the keys before the newest; refused while a client uses one")
	cmd.Flags().BoolVar(&force, "force", false, "with --retire: remove them without looking whether a client uses them")
	return cmd
}

// changeKeys finds the volumes, does it and says what was done.
func (o *options) changeKeys(ctx context.Context, cmd *cobra.Command, c Clients, program string, flags, args []string, all bool) error {
	pvs, err := c.persistentVolumes(ctx)
	if err != nil {
		return err
	}
	var missed error
	var volumes []target
	if all {
		var s stored
		if volumes, s, err = c.everyTarget(ctx, pvs); err != nil {
			return err
		}
		missed = partly(cmd, s.Missed, nil, nil)
	} else if volumes, err = targets(pvs, args); err != nil {
		return err
	}
	list, err := c.changeKeys(ctx, program, append(flags, "--timeout="+o.timeout.String()), volumes)
	if perr := o.print(cmd, list, list.print); perr != nil {
		return perr
	}
	switch {
	case err != nil:
		return err
	case list.failed() > 0:
		return exit(ExitFound)
	}
	return missed
}
