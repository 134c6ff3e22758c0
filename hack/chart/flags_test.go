package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every flag that the chart gives is one of the program, which is built and asked. The sidecars' are lists in testdata/flags, taken from
// the flag definitions in their releases' sources, cmd/PROGRAM/*.go, and in csi-lib-utils/standardflags.
func TestFlagsExist(t *testing.T) {
	flags := map[string]map[string]bool{}
	for _, p := range []struct {
		name string
		env  string
		tags string
	}{{"strata-node", "CGO_ENABLED=0", ""}, {"strata-mountd", "CGO_ENABLED=0", ""}, {"strata-controller", "CGO_ENABLED=1", "pacific"}} {
		bin := filepath.Join(t.TempDir(), p.name)
		build := exec.Command("go", "build", "-tags", p.tags, "-o", bin, "./cmd/"+p.name)
		build.Dir = root
		build.Env = append(build.Environ(), p.env)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", p.name, err, out)
		}
		out, err := exec.Command(bin, "--help").CombinedOutput()
		if err != nil {
			t.Fatalf("%s --help: %v\n%s", p.name, err, out)
		}
		flags[p.name] = map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^\s+(?:-\w, )?--([a-z-]+)`).FindAllStringSubmatch(string(out), -1) {
			flags[p.name][m[1]] = true
		}
		if len(flags[p.name]) < 5 {
			t.Fatalf("%s --help shows only %v", p.name, flags[p.name])
		}
	}
	for _, name := range []string{"csi-provisioner", "csi-resizer", "csi-snapshotter", "snapshot-controller"} {
		flags[name] = map[string]bool{}
		for f := range strings.FieldsSeq(string(read(t, filepath.Join("testdata", "flags", name+".txt")))) {
			flags[name][f] = true
		}
	}
	seen := map[string]bool{}
	each(t, func(t *testing.T, all []object) {
		for _, o := range all {
			p, _, ok := template(o)
			if !ok {
				continue
			}
			for _, c := range p.Spec.Containers {
				known, ok := flags[c.Name]
				if !ok {
					t.Errorf("%s: nothing is known of the flags of container %s", o, c.Name)
				}
				seen[c.Name] = true
				given := map[string]bool{}
				for _, a := range c.Args {
					m := regexp.MustCompile(`^--([a-z-]+)(=.*)?$`).FindStringSubmatch(a)
					switch {
					case m == nil:
						t.Errorf("%s: argument %q of %s is no flag", o, a, c.Name)
					case !known[m[1]]:
						t.Errorf("%s: %s has no flag --%s", o, c.Name, m[1])
					case given[m[1]]:
						t.Errorf("%s: %s is given --%s twice", o, c.Name, m[1])
					default:
						given[m[1]] = true
					}
				}
			}
		}
	})
	if len(seen) != len(flags) {
		t.Errorf("only the containers %v were seen", seen)
	}
}
