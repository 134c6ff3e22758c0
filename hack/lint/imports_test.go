package main

import (
	"slices"
	"strings"
	"testing"
)

// pkg is a package of the module that imports others, directly.
func pkg(path string, imports ...string) Package {
	p := Package{ImportPath: module + "/" + path}
	for _, i := range imports {
		if within(i, "pkg", "cmd", "hack", "tests") {
			i = module + "/" + i
		}
		p.Imports = append(p.Imports, i)
	}
	p.Deps = p.Imports
	return p
}

func TestRules(t *testing.T) {
	indirect := func(p Package, deps ...string) Package {
		for _, d := range deps {
			p.Deps = append(p.Deps, module+"/"+d)
		}
		return p
	}
	for _, c := range []struct {
		name string
		p    Package
		want string
	}{
		{"volume with the standard library", pkg("pkg/volume", "fmt"), ""},
		{"volume with something of ours", pkg("pkg/volume", "pkg/ceph"), "may import nothing of ours"},
		{"driver with every tier", pkg("pkg/driver", "pkg/warm", "pkg/cold", "pkg/scratch"), ""},
		{"a command with two tiers", pkg("cmd/strata-node", "pkg/warm", "pkg/scratch"), ""},
		{"a test with two tiers", pkg("tests/integration", "pkg/warm", "pkg/scratch"), ""},
		{"a tier with its parts", pkg("pkg/warm", "pkg/warm/volumecontext", "pkg/warmnode"), ""},
		{"a tier with another", pkg("pkg/cold", "pkg/warm/volumecontext"), "pkg/cold and pkg/warm/volumecontext"},
		{"the holder of mounts with what it says to an engine", pkg("pkg/mountd", "pkg/coldfs/control"), ""},
		{"the holder with S3", indirect(pkg("pkg/mountd", "pkg/coldfs/control"), "pkg/s3"), "needs neither S3 nor CSI"},
		{"a tier with the holder", indirect(pkg("pkg/warm/client", "pkg/mountd"), "pkg/coldfs/control"), ""},
		{"a tier with another's engine", indirect(pkg("pkg/warm/client", "pkg/mountd"), "pkg/coldfs/config"), "pkg/coldfs/config and pkg/warm/client"},
		{"a service with two tiers", pkg("pkg/node", "pkg/warm", "pkg/coldfs"), "only pkg/driver and cmd"},
		{"a service with one tier directly and one indirectly", indirect(pkg("pkg/node", "pkg/warm"), "pkg/scratch"), "only pkg/driver and cmd"},
		{"the binding with go-ceph", pkg("pkg/ceph/librados", goCeph+"/rados"), ""},
		{"another with go-ceph", pkg("pkg/warm", goCeph+"/rados"), "only pkg/ceph/librados may"},
		{"the controller with the binding", pkg("cmd/strata-controller", "pkg/ceph/librados"), ""},
		{"the node with the binding", pkg("cmd/strata-node", "pkg/ceph/librados"), "without cgo"},
		{"the driver with the binding", pkg("pkg/driver", "pkg/ceph/librados"), "without cgo"},
		{"the S3 client with the SDK", pkg("pkg/s3", awsSDK+"aws-sdk-go-v2/service/s3"), ""},
		{"a tier with the SDK", pkg("pkg/cold", awsSDK+"aws-sdk-go-v2/service/s3"), "only pkg/s3 may"},
		{"a tier with the S3 client", pkg("pkg/coldfs/reading", "pkg/s3"), ""},
		{"a service with CSI messages", pkg("pkg/controller", csiSpec+"/lib/go/csi"), ""},
		{"a tier with CSI messages", pkg("pkg/warm", csiSpec+"/lib/go/csi"), "CSI messages"},
		{"the driver with the Kubernetes API", pkg("pkg/driver", "pkg/kube", "pkg/registration"), ""},
		{"a tier with the Kubernetes API", pkg("pkg/scratch", "pkg/kube"), "take an interface"},
		{"the node with every group of the API", pkg("cmd/strata-node", "k8s.io/client-go/kubernetes/scheme"), "every group"},
		{"a library with a program", pkg("pkg/warm", "hack/ceph"), "not a library"},
		{"a fake with a fake", pkg("pkg/tier/tiertest", "pkg/ceph/cephtest"), ""},
		{"a program with a fake", pkg("cmd/strata-node", "pkg/ceph/cephtest"), "for tests"},
		{"a name that says nothing", pkg("pkg/ceph/util"), "says nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(broken([]Package{c.p}), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWithoutLibrados(t *testing.T) {
	binding := pkg("pkg/ceph/librados", goCeph+"/rados")
	tested, outside := pkg("tests/conformance"), pkg("tests/other")
	tested.TestImports = []string{binding.ImportPath}
	outside.XTestImports = []string{goCeph + "/rados"}
	got := withoutLibrados([]Package{tested, outside, binding, pkg("pkg/warm", "pkg/ceph", "github.com/ceph/go-ceph-like/x")})
	if want := []string{module + "/pkg/warm"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
