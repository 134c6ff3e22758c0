package main

// Who may import whom. These rules are what keeps a tier replaceable and the node's program static; docs/architecture.md
// draws them.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

const (
	module   = "github.com/strata-csi/strata"
	goCeph   = "github.com/ceph/go-ceph"
	csiSpec  = "github.com/container-storage-interface/spec"
	librados = "pkg/ceph/librados"
	awsSDK   = "github.com/aws/"
	s3Client = "pkg/s3"
	// engineControl is what the holder of mounts, which serves every tier, and an engine of tier cold say to each other.
	engineControl = "pkg/coldfs/control"
)

// Package is what `go list -json` says of a package, as far as the rules need it. The rules are about Imports and Deps, which are
// without those of the test files: a test may put together what a program may not.
type Package struct {
	ImportPath   string
	Imports      []string
	Deps         []string // all that is imported, however indirectly
	TestImports  []string
	XTestImports []string
}

// name is the package's path in the module, or "" for a foreign one.
func name(importPath string) string {
	rest, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	return rest
}

func list(ctx context.Context) ([]Package, error) {
	out, err := output(ctx, nil, "go", "list", "-tags", cgoTags, "-json=ImportPath,Imports,Deps,TestImports,XTestImports", "./...")
	if err != nil {
		return nil, err
	}
	var all []Package
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

// withoutLibrados are the packages that can be built, with their tests, where there is no librados.
func withoutLibrados(packages []Package) []string {
	uses := map[string]bool{}
	for _, p := range packages {
		uses[p.ImportPath] = slices.ContainsFunc(p.Deps, isGoCeph)
	}
	var without []string
	for _, p := range packages {
		inTests := slices.ContainsFunc(slices.Concat(p.TestImports, p.XTestImports), func(i string) bool { return uses[i] || isGoCeph(i) })
		if !uses[p.ImportPath] && !inTests {
			without = append(without, p.ImportPath)
		}
	}
	return without
}

func isGoCeph(importPath string) bool {
	return importPath == goCeph || strings.HasPrefix(importPath, goCeph+"/")
}

// rules each say what is wrong with one package, or nothing.
var rules = []func(p Package, name string) string{
	volumeStandsAlone,
	tiersMeetInTheDriver,
	libradosIsTheControllers,
	awsIsBehindOnePackage,
	messagesStopAtTheServices,
	theHolderStaysSmall,
	kubernetesIsForTheDriver,
	libraryKnowsNoProgram,
	fakesAreForTests,
	namesSayWhatIsInside,
}

// broken lists every package and rule it breaks.
func broken(packages []Package) []string {
	var problems []string
	for _, p := range packages {
		for _, rule := range rules {
			if why := rule(p, name(p.ImportPath)); why != "" {
				problems = append(problems, name(p.ImportPath)+": "+why)
			}
		}
	}
	return problems
}

func within(name string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return name == d || strings.HasPrefix(name, d+"/") })
}

func volumeStandsAlone(p Package, pkg string) string {
	if pkg != "pkg/volume" {
		return ""
	}
	for _, i := range p.Imports {
		if name(i) != "" {
			return fmt.Sprintf("imports %s, but stands below everything and may import nothing of ours", name(i))
		}
	}
	return ""
}

// tierOf is the tier that a package implements: pkg/warm, pkg/warmnode and pkg/warm/volumecontext are all of tier warm.
func tierOf(name string) string {
	rest, ok := strings.CutPrefix(name, "pkg/")
	if !ok || name == engineControl {
		return ""
	}
	for _, t := range []string{"warm", "cold", "scratch"} {
		if strings.HasPrefix(rest, t) {
			return t
		}
	}
	return ""
}

func tiersMeetInTheDriver(p Package, pkg string) string {
	if within(pkg, "pkg/driver", "cmd", "tests", "hack") {
		return ""
	}
	tiers := map[string]string{}
	for _, d := range append([]string{p.ImportPath}, p.Deps...) {
		if t := tierOf(name(d)); t != "" && tiers[t] == "" {
			tiers[t] = name(d)
		}
	}
	if len(tiers) < 2 {
		return ""
	}
	var names []string
	for _, n := range tiers {
		names = append(names, n)
	}
	slices.Sort(names)
	return "brings together " + strings.Join(names, " and ") + "; only pkg/driver and cmd may know more than one tier"
}

func libradosIsTheControllers(p Package, pkg string) string {
	for _, i := range p.Imports {
		if isGoCeph(i) && !within(pkg, librados) {
			return "imports " + i + "; only " + librados + " may, others use the interface in pkg/ceph"
		}
		if name(i) == librados && !within(pkg, librados, "cmd/strata-controller", "tests", "hack") {
			return "imports " + librados + "; only cmd/strata-controller may, so that all else is built without cgo"
		}
	}
	return ""
}

// awsIsBehindOnePackage: whoever asks a store says which version of an object is meant and gets one of a few errors.
func awsIsBehindOnePackage(p Package, pkg string) string {
	for _, i := range p.Imports {
		if strings.HasPrefix(i, awsSDK) && pkg != s3Client {
			return "imports " + i + "; only " + s3Client + " may, others use that"
		}
	}
	return ""
}

func messagesStopAtTheServices(p Package, pkg string) string {
	// pkg/volumehealth is what the controller and the node say of a volume's health in the same words.
	if within(pkg, "pkg/controller", "pkg/node", "pkg/identity", "pkg/volumehealth", "pkg/rpc", "pkg/driver", "tests", "hack") {
		return ""
	}
	for _, i := range p.Imports {
		if strings.HasPrefix(i, csiSpec) {
			return "imports the CSI messages, which stop at pkg/controller, pkg/node and pkg/identity"
		}
	}
	return ""
}

// theHolderStaysSmall: what ends with it are the mounts of running pods, so it has as little in it as can be.
func theHolderStaysSmall(p Package, pkg string) string {
	if !within(pkg, "pkg/mountd", "cmd/strata-mountd") {
		return ""
	}
	for _, d := range p.Deps {
		if name(d) == s3Client || strings.HasPrefix(d, awsSDK) || strings.HasPrefix(d, csiSpec) {
			return "brings " + d + " into the holder of mounts, which needs neither S3 nor CSI"
		}
	}
	return ""
}

// kubernetesIsForTheDriver: a tier works without an orchestrator, and what asks the API destroys nothing by itself.
func kubernetesIsForTheDriver(p Package, pkg string) string {
	if pkg == "cmd/strata-node" && slices.Contains(p.Deps, "k8s.io/client-go/kubernetes/scheme") {
		return "brings every group of the Kubernetes API onto each node; pkg/kube asks for the core group alone"
	}
	if within(pkg, "pkg/driver", "cmd", "tests", "hack") {
		return ""
	}
	for _, i := range p.Imports {
		if n := name(i); n == "pkg/kube" || n == "pkg/registration" {
			return "imports " + n + "; only pkg/driver and cmd may, others take an interface"
		}
	}
	return ""
}

func libraryKnowsNoProgram(p Package, pkg string) string {
	if !within(pkg, "pkg") {
		return ""
	}
	for _, i := range p.Imports {
		if within(name(i), "cmd", "hack", "tests") {
			return "imports " + name(i) + ", which is not a library"
		}
	}
	return ""
}

func isFake(name string) bool {
	return strings.HasSuffix(path.Base(name), "test") && within(name, "pkg")
}

func fakesAreForTests(p Package, pkg string) string {
	if isFake(pkg) || within(pkg, "tests", "hack") {
		return ""
	}
	for _, i := range p.Imports {
		if isFake(name(i)) {
			return "imports " + name(i) + ", which is for tests"
		}
	}
	return ""
}

func namesSayWhatIsInside(_ Package, pkg string) string {
	switch base := path.Base(pkg); base {
	case "util", "utils", "common", "helper", "helpers", "misc", "base", "lib", "shared":
		return fmt.Sprintf("%q says nothing; name the package after what it is about", base)
	}
	return ""
}
