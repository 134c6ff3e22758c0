// Command chart renders the Helm chart in deploy/strata without helm and without a cluster.
//
//	go run . render -values FILE [-values FILE] [-namespace strata]    # objects on standard output
//	go run . manifests                                                 # writes deploy/manifests from deploy/example-values.yaml
//	go run . verify                                                    # fails when deploy/manifests isn't what the chart gives
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/strata-csi/strata/hack/chart/manifests"
	"github.com/strata-csi/strata/hack/chart/render"
)

const usage = `Render the chart in deploy/strata.

  render     print the objects for the values files
               -values FILE     may be given several times, later ones win
               -namespace NAME  of the release (strata)
               -kube-version V  of the Kubernetes it is for (the oldest that the chart allows)
  manifests  write deploy/manifests from deploy/example-values.yaml
  verify     exit with 1 when deploy/manifests isn't what the chart gives

  -root DIR  of the checkout; before the command; default: found from the working directory
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("chart", flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	root := flags.String("root", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *root == "" {
		var err error
		if *root, err = checkout(); err != nil {
			return err
		}
	}
	switch command := flags.Arg(0); command {
	case "render":
		return print(*root, flags.Args()[1:])
	case "manifests":
		return manifests.Write(*root)
	case "verify":
		return manifests.Verify(*root)
	default:
		flags.Usage()
		return fmt.Errorf("%q is no command: render, manifests, verify", command)
	}
}

// checkout looks for the directory with the chart, upwards.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "deploy", "strata", "Chart.yaml")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("deploy/strata/Chart.yaml is in none of the directories above: run it inside the checkout or give -root")
		}
	}
}

type list []string

func (l *list) String() string     { return fmt.Sprint(*l) }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func print(root string, args []string) error {
	flags := flag.NewFlagSet("render", flag.ExitOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	o := render.Options{Chart: filepath.Join(root, "deploy", "strata"), Release: "strata"}
	flags.Var((*list)(&o.Values), "values", "")
	flags.StringVar(&o.Namespace, "namespace", "strata", "")
	flags.StringVar(&o.KubeVersion, "kube-version", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("render: %q is no flag", flags.Arg(0))
	}
	files, err := render.Files(o)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(render.All(files))
	return err
}
