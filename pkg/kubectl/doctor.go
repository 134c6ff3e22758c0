package kubectl

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/version"
	"github.com/strata-csi/strata/pkg/volume"
)

// Tiers are the checks of a StorageClass's parameters, without those of Kubernetes itself, by the tier that they name. The error
// says which parameter is wrong and what is allowed.
type Tiers map[volume.Tier]func(parameters map[string]string) error

// Diagnosis is what doctor finds.
type Diagnosis struct {
	Header
	Checks []inspect.Check `json:"checks"`
}

// Doctor looks at everything that volumes need.
func Doctor(ctx context.Context, c Clients, tiers Tiers) Diagnosis {
	d := Diagnosis{Header: c.header("Diagnosis"), Checks: []inspect.Check{}}
	add := func(checks ...inspect.Check) { d.Checks = append(d.Checks, checks...) }
	api := inspect.Check{Name: "kubernetes"}
	v, err := c.Kube.Discovery().ServerVersion()
	if err != nil {
		api.Result, api.Found, api.Fix = inspect.Unknown, "the API server can't be asked: "+err.Error(), "kubectl cluster-info"
		add(api)
		return d
	}
	api.Result, api.Found = inspect.OK, v.GitVersion
	add(api)

	f := c.facts(ctx)
	add(f.csiDriver())
	add(c.deployment(f)...)
	add(c.daemonSets(f)...)
	add(f.registered()...)
	add(c.startupTaint(f))
	add(c.serviceAccounts(ctx, f)...)
	classes, users := c.storageClasses(ctx, f, tiers)
	add(f.snapshotting(tiers)...)
	add(c.scratchReports(f)...)

	backend, err := c.backend(ctx, users)
	if err != nil {
		add(classes...)
		add(inspect.Check{Name: "ceph", Result: inspect.Unknown, Found: err.Error(), Fix: "the checks of the controller come first; pods/exec in its namespace is needed too"})
		add(c.pendingClaims(ctx, f))
		return d
	}
	add(placeable(f, classes, backend.Clusters)...)
	add(c.sameVersion(backend.Program))
	add(backend.Checks...)
	add(c.pendingClaims(ctx, f))
	return d
}

// backend asks the controller, and has it look at the users that nodes mount with.
func (c Clients) backend(ctx context.Context, users []string) (inspect.Doctor, error) {
	args := []string{"doctor"}
	for _, u := range users {
		args = append(args, "--node-user="+u)
	}
	var d inspect.Doctor
	err := c.inspect(ctx, &d, inspect.KindDoctor, args...)
	return d, err
}

func (c Clients) sameVersion(program string) inspect.Check {
	check := inspect.Check{Name: "version", Result: inspect.OK, Found: "kubectl-strata and strata-controller are " + program}
	if own := version.String(); own != program {
		check.Result = inspect.Warn
		check.Found = fmt.Sprintf("kubectl-strata is %s, strata-controller %s", own, program)
		check.Fix = "use the kubectl-strata of the controller's release"
	}
	return check
}

// Count returns how many checks have the result.
func (d Diagnosis) Count(r inspect.Result) int {
	n := 0
	for _, check := range d.Checks {
		if check.Result == r {
			n++
		}
	}
	return n
}

// print writes the checks for people: a line each, and what mends it below.
func (d Diagnosis) print(w io.Writer) error {
	width := 0
	for _, c := range d.Checks {
		width = max(width, len(c.Name))
	}
	indent := strings.Repeat(" ", len("unknown")+3)
	for _, c := range d.Checks {
		found := oneLine(c.Found)
		if c.Subject != "" {
			found = oneLine(c.Subject) + ": " + found
		}
		if _, err := fmt.Fprintf(w, "%-7s   %-*s   %s\n", mark(c.Result), width, c.Name, found); err != nil {
			return err
		}
		if c.Fix != "" {
			if _, err := fmt.Fprintf(w, "%s%*s   fix: %s\n", indent, -width, "", oneLine(c.Fix)); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "\n%d ok, %s, %s, %d not looked at\n", d.Count(inspect.OK), plural(d.Count(inspect.Warn), "warning"),
		plural(d.Count(inspect.Fail), "failure"), d.Count(inspect.Unknown))
	return err
}

// mark makes what needs somebody stand out.
func mark(r inspect.Result) string {
	if r == inspect.OK {
		return string(r)
	}
	return strings.ToUpper(string(r))
}
