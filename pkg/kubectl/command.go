package kubectl

// The command line.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/version"
)

// The exit codes.
const (
	ExitOK      = 0
	ExitFound   = 1 // doctor: a check failed; orphans: there are some; rotate, fence: not with all volumes, or in all clusters
	ExitNotSeen = 2 // something couldn't be looked at, or the command line is wrong
)

const long = `kubectl strata shows operators of Strata what Kubernetes and the clusters behind it say of volumes.

It only reads, "orphans --remove-identities", "rotate" and "fence" excepted. What it asks Ceph goes through strata-controller: it is
run once more, as "strata-controller inspect", in the container of a ready controller pod, with its credential. So
this tool needs no way to Ceph, and its user the right to pods/exec in the driver's namespace.`

const examples = `  kubectl strata doctor                    is everything as it should be? What mends it?
  kubectl strata volumes                   who has which volume, how full, on which nodes
  kubectl strata usage --price warm=0.03   per team and tier, with what a month costs
  kubectl strata orphans                   what nobody seems to want any more
  kubectl strata rotate vision/data        a new key for a volume, without touching what runs
  kubectl strata fence vision/data         take a volume from everybody who has it
  kubectl strata fence node/worker-7       shut a node out
  kubectl strata volumes -o json | jq -r '.volumes[] | select(.used > 0.9 * .size) | .namespace + "/" + .pvc'`

// exit is an error that is a code alone: what it stands for has been printed.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main is the program. It returns its exit code, and the error that is still to be printed.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer, tiers Tiers, connect func(Access) (Clients, error)) (int, error) {
	root := newCommand(tiers, connect)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var code exit
	switch {
	case err == nil:
		return ExitOK, nil
	case errors.As(err, &code):
		return int(code), nil
	}
	return ExitNotSeen, err
}

// options are the flags that all commands have.
type options struct {
	Access
	output  string
	timeout time.Duration
	connect func(Access) (Clients, error)
}

func newCommand(tiers Tiers, connect func(Access) (Clients, error)) *cobra.Command {
	o := &options{connect: connect}
	root := &cobra.Command{
		Use: "kubectl-strata", Short: "Look at Strata's volumes and at what they stand on", Long: long, Example: examples, Version: version.String(),
		SilenceUsage: true, SilenceErrors: true,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl strata"},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig file; default: as kubectl finds it")
	flags.StringVar(&o.Context, "context", "", "context of the kubeconfig")
	flags.StringVarP(&o.Namespace, "namespace", "n", "strata", "namespace that the driver runs in")
	flags.StringVarP(&o.output, "output", "o", "table", "table, wide or json")
	flags.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to look at most")
	complete := func(words ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return words, cobra.ShellCompDirectiveNoFileComp
		}
	}
	_ = root.RegisterFlagCompletionFunc("output", complete("table", "wide", "json")) // fails for an unknown flag only
	root.AddCommand(doctorCommand(o, tiers), volumesCommand(o), usageCommand(o), orphansCommand(o), rotateCommand(o), fenceCommand(o))
	return root
}

// run connects and gives the command its time.
func (o *options) run(cmd *cobra.Command, do func(ctx context.Context, c Clients) error) error {
	switch o.output {
	case "table", "wide", "json":
	default:
		return fmt.Errorf("--output %q: it can be table, wide or json", o.output)
	}
	c, err := o.connect(o.Access)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	return do(ctx, c)
}

// print writes the document as JSON, or for people.
func (o *options) print(cmd *cobra.Command, document any, people func(io.Writer) error) error {
	if o.output == "json" {
		return printJSON(cmd.OutOrStdout(), document)
	}
	return people(cmd.OutOrStdout())
}

// partly says on the standard error what a list is without, and makes the exit code say it too.
func partly(cmd *cobra.Command, missed []inspect.Missed, notes []string, err error) error {
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "incomplete, the clusters couldn't be asked:", err)
	}
	for _, m := range missed {
		where := "cluster " + m.Cluster
		if m.FileSystem != "" {
			where += ", file system " + m.FileSystem
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "incomplete, %s couldn't be looked at: %s\n", where, m.Reason)
	}
	for _, n := range notes {
		fmt.Fprintln(cmd.ErrOrStderr(), "incomplete:", n)
	}
	if err != nil || len(missed) > 0 {
		return exit(ExitNotSeen)
	}
	return nil
}

func doctorCommand(o *options, tiers Tiers) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check all that volumes need, and say what mends it", Args: cobra.NoArgs,
		Long: `doctor checks the driver's objects in Kubernetes, its pods, the nodes, the StorageClasses and the secrets
that they name, snapshots, and, through the controller, the Ceph clusters: reachable, healthy, file systems,
pools, capabilities of the keys, copies that stand still.

Each check is ok, WARN (works, and somebody should look), FAIL, or UNKNOWN (it couldn't be looked at).
Exit code: 0 when nothing fails, 1 when something does, 2 when nothing fails and something couldn't be looked at.`,
		Example: `  kubectl strata doctor
  kubectl strata doctor -o json | jq -r '.checks[] | select(.result == "fail") | .fix'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, func(ctx context.Context, c Clients) error {
				d := Doctor(ctx, c, tiers)
				if err := o.print(cmd, d, d.print); err != nil {
					return err
				}
				switch {
				case d.Count(inspect.Fail) > 0:
					return exit(ExitFound)
				case d.Count(inspect.Unknown) > 0:
					return exit(ExitNotSeen)
				}
				return nil
			})
		},
	}
}

func volumesCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "volumes", Aliases: []string{"volume", "vol"}, Short: "List the volumes: whose, how large, how full, how well, where used", Args: cobra.NoArgs,
		Long: `volumes lists every PersistentVolume of the driver, and the volumes in pods' own specifications. What a warm
volume holds is the metadata server's own sum, which lags some seconds behind; what a scratch volume holds, only
its node knows. HEALTH is ok, or the reasons of the driver's volume health, or Gone: the cluster has no such volume.

Exit code: 0, or 2 when a cluster couldn't be looked at.`,
		Example: `  kubectl strata volumes
  kubectl strata volumes -o wide
  kubectl strata volumes -o json | jq '.volumes[] | select(.team == "vision")'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, func(ctx context.Context, c Clients) error {
				list, err := Volumes(ctx, c)
				if perr := o.print(cmd, list, func(w io.Writer) error { return list.print(w, o.output == "wide") }); perr != nil {
					return perr
				}
				if list.Without > 0 && o.output != "json" {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s in the clusters without a PersistentVolume: see kubectl strata orphans\n", plural(list.Without, "volume"))
				}
				return partly(cmd, list.Missed, nil, err)
			})
		},
	}
}

func usageCommand(o *options) *cobra.Command {
	var prices []string
	cmd := &cobra.Command{
		Use: "usage", Short: "Add up volumes by team and tier, with a price if there is one", Args: cobra.NoArgs,
		Long: `usage adds up what each team has in each tier: volumes, what was promised to them (PROVISIONED), what they
hold (USED). A warm volume is its team's, a scratch volume its namespace's. A volume that is served from a snapshot
takes no room of its own; one that no PersistentVolume has takes it all the same.

--price gives what a GB (10^9 bytes) that is provisioned costs in a month. Exit code: 0, or 2 when a cluster
couldn't be looked at.`,
		Example: `  kubectl strata usage
  kubectl strata usage --price warm=0.03 --price scratch=0.01`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := ParsePrices(prices)
			if err != nil {
				return err
			}
			return o.run(cmd, func(ctx context.Context, c Clients) error {
				u, err := Measure(ctx, c, parsed)
				if perr := o.print(cmd, u, u.print); perr != nil {
					return perr
				}
				return partly(cmd, u.Missed, nil, err)
			})
		},
	}
	cmd.Flags().StringArrayVar(&prices, "price", nil, "TIER=PRICE of a GB for a month; can be repeated")
	return cmd
}

func orphansCommand(o *options) *cobra.Command {
	var grace time.Duration
	var remove bool
	cmd := &cobra.Command{
		Use: "orphans", Aliases: []string{"orphan"}, Short: "List what one side has and the other doesn't know", Args: cobra.NoArgs,
		Long: `orphans compares Kubernetes with the clusters: volumes and snapshots there that no PersistentVolume and no
VolumeSnapshotContent has, PersistentVolumes and VolumeSnapshotContents whose volume or snapshot isn't there,
identities that were made for a volume which isn't there and the Secrets with their keys, and scratch reports of
nodes that aren't there.

It removes nothing by itself: it prints the commands that would. With --remove-identities it removes identities and
their Secrets, which hold no data. The other commands remove data for good. Look first whether
 - the volume is kept on purpose: the reclaim policy of its PersistentVolume was Retain;
 - another Kubernetes cluster has the same namePrefix in its cluster configuration: all of its volumes are
   listed here then.

Exit code: 0 when there are none, 1 when there are, 2 when there are none and something couldn't be looked at.`,
		Example: `  kubectl strata orphans
  kubectl strata orphans --grace 24h
  kubectl strata orphans -o json | jq -r '.orphans[] | select(.kind == "volume") | .remove[]'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if grace < 0 {
				return fmt.Errorf("--grace %s: it can't be negative", grace)
			}
			return o.run(cmd, func(ctx context.Context, c Clients) error {
				list, err := Orphans(ctx, c, grace)
				if err != nil {
					return err
				}
				var stays error
				if remove {
					stays = RemoveIdentities(ctx, c, &list)
				}
				if err := o.print(cmd, list, func(w io.Writer) error { return list.print(w, c.Now()) }); err != nil {
					return err
				}
				err = partly(cmd, list.Missed, list.Notes, nil)
				if stays != nil {
					return stays
				}
				if len(list.Orphans) > 0 {
					return exit(ExitFound)
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&remove, "remove-identities", false, "remove the identities and Secrets of volumes that aren't there")
	cmd.Flags().DurationVar(&grace, "grace", time.Hour, "leave out what changed within this time: it may be in the making")
	return cmd
}
