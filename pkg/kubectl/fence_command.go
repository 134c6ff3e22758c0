package kubectl

// The command line of fence, for volumes and for nodes.

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// nodeType begins the name of a node, as elsewhere with kubectl.
const nodeType = "node/"

func fenceCommand(o *options) *cobra.Command {
	var undo bool
	var addresses []string
	cmd := &cobra.Command{
		Use: "fence VOLUME... | node/NAME", Aliases: []string{"unfence"}, Short: "Take volumes from everybody, or all volumes from a node, or undo that",
		Long: `fence takes warm volumes with "identity: volume" from all clients at once, on whatever node: when a key was stolen, or
a writer must be stopped for certain. Of each volume, in this order:
 - its Secret is removed, so that no pod with it starts any more;
 - its Ceph users are removed, those of rotations too, so that their keys open nothing;
 - every client that proved to a metadata server to be one of them is put on the OSDs' blocklist by its address, which
   is that client's alone; the metadata servers end their sessions. It is done when none is left.
Pods that have the volume get errors (ESHUTDOWN, EACCES), also for files that are open; what they had written and not
synced is lost. Nothing of the data is touched, and other volumes go on, those on the same nodes too.

A stolen key whose thief used tickets of before, or spoke to the OSDs alone, can come back with another address until
those tickets end (auth_service_ticket_ttl, an hour): fence again within that time to find him.

--undo (or unfence) gives the volumes new keys, so that pods can be started again: restart those that were there. The
clients that were shut out stay so; a new mount is a new client.

fence node/NAME shuts a node out: one that was taken over, or that doesn't answer and whose pods shall be started
elsewhere. In each cluster of the configuration, in this order:
 - every client with a session from one of its addresses is put on the blocklist;
 - so are the addresses as a whole, so that nothing on the node opens anything, whatever keys it has;
 - it is done when no session from there is left.
All pods there get errors on all warm volumes and never recover. Pods of other nodes go on, those with the same volumes
too: no key changes. The node's addresses are those in its status; --address names others, such as that of a storage
network, or all of a node that Kubernetes doesn't know any more. It refuses, and does nothing, where a daemon of Ceph
works at an address (fence the volumes instead) or another node has it. Other Ceph clients there are shut out too.

It doesn't stop the scheduler or kubelet: kubectl cordon the node first. Nor does it touch cold volumes. The node had the
keys of volumes, which it can give to others: it names them, with the commands that renew their keys. --undo lets the
addresses in again: restart the pods there; the mounts that were shut out stay so.

The controller needs the user for fencing, which docs/security.md says how to make. VOLUME is a PersistentVolume,
NAMESPACE/CLAIM or a volume id. All may be repeated; interrupted, do it again.
Exit code: 0 done, 1 not with all volumes or clusters, 2 it couldn't be tried.`,
		Example: `  kubectl strata fence vision/data
  kubectl strata fence vision/data -o json | jq -r '.volumes[].shutOut[].host'
  kubectl strata fence --undo vision/data
  kubectl cordon worker-7 && kubectl strata fence node/worker-7
  kubectl strata fence node/worker-7 --address=10.0.0.7 --address=10.9.0.7
  kubectl strata fence --undo node/worker-7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%s takes volumes or a node; see kubectl strata fence --help", cmd.CalledAs())
			}
			undo = undo || cmd.CalledAs() == "unfence"
			if name, ok := strings.CutPrefix(args[0], nodeType); ok {
				if len(args) > 1 || name == "" {
					return errors.New("one node at a time: node/NAME, and nothing besides")
				}
				return o.run(cmd, func(ctx context.Context, c Clients) error { return o.fenceNode(ctx, cmd, c, name, addresses, undo) })
			}
			if len(addresses) > 0 {
				return errors.New("--address is for node/NAME")
			}
			var flags []string
			if undo {
				flags = []string{"--undo"}
			}
			return o.run(cmd, func(ctx context.Context, c Clients) error {
				return o.changeKeys(ctx, cmd, c, "fence", flags, args, false)
			})
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "give fenced volumes new keys, or let a node in again")
	cmd.Flags().StringSliceVar(&addresses, "address", nil, "of node/NAME: an IP address from which it reaches Ceph, besides those in its status; can be repeated")
	return cmd
}

// fenceNode does it and says what was done.
func (o *options) fenceNode(ctx context.Context, cmd *cobra.Command, c Clients, name string, addresses []string, undo bool) error {
	f, err := c.fenceNode(ctx, name, addresses, undo, o.timeout)
	if err != nil {
		return err
	}
	if err := o.print(cmd, f, f.print); err != nil {
		return err
	}
	if f.failed() > 0 {
		return exit(ExitFound)
	}
	return nil
}
