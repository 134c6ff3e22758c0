package main

// The images there are. References of upstream's are those that the chart and Kubernetes' own tests name.

import (
	"path"
)

// nonroot is the user of all that needs no privilege, by number: kubelet can't check runAsNonRoot for a name.
const nonroot = "65532:65532"

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// image is one archive. It has exactly one of target, program and userland.
type image struct {
	name      string // of the archive
	reference string // registry, repository and tag
	target    string // of the Dockerfile
	label     string // beyond those of the Dockerfile, as KEY=VALUE
	program   program
	userland  userland
	config    config
}

// program is a static program that is all of an image, or of what the image has beside the userland.
type program struct {
	dir     string // of its Go module below the checkout; empty: it's built already
	pkg     string // import path, or a path below the checkout when it's built already
	version string // for -X main.version
	path    string // in the image
	hint    string // how to build one that isn't there
}

// userland is what there is beside a program.
type userland string

const (
	busybox userland = "busybox" // Debian's static busybox under all its names
	debian  userland = "debian"  // the base
)

const (
	sidecarModule = "hack/kube/sidecars"
	e2eRegistry   = "registry.k8s.io/e2e-test-images/"
)

func catalogue() []image {
	return []image{
		{name: "strata-controller", reference: "docker.io/library/strata-controller:dev", target: "controller"},
		{name: "strata-node", reference: "docker.io/library/strata-node:dev", target: "node"},
		{name: "strata-node-dev2", reference: "docker.io/library/strata-node:dev2", target: "node", label: "dev.strata.csi.build=dev2"},
		sidecar("external-provisioner/v6", "csi-provisioner", "v6.3.0"),
		sidecar("external-resizer/v2", "csi-resizer", "v2.2.0"),
		sidecar("external-snapshotter/v8", "csi-snapshotter", "v8.6.0"),
		sidecar("external-snapshotter/v8", "snapshot-controller", "v8.6.0"),
		{
			name: "pause", reference: "registry.k8s.io/pause:3.10.1",
			program: program{dir: ".", pkg: "./hack/image/pause", path: "/pause"},
			config:  config{User: "65535:65535", Entrypoint: []string{"/pause"}},
		},
		{name: "busybox", reference: e2eRegistry + "busybox:1.37.0-1", userland: busybox, config: config{Cmd: []string{"sh"}}},
		{name: "nginx", reference: e2eRegistry + "nginx:1.14-4", userland: busybox, config: config{Cmd: []string{"sh"}}},
		{name: "jessie-dnsutils", reference: e2eRegistry + "jessie-dnsutils:1.7", userland: debian, config: config{Cmd: []string{"bash"}}},
		{
			name: "agnhost", reference: e2eRegistry + "agnhost:2.59", userland: busybox,
			program: program{pkg: ".strata/kube/bin/agnhost", path: "/agnhost", hint: "go run ./hack/kube build"},
			config:  config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}},
		},
	}
}

// sidecar is one of upstream's, as upstream calls it.
func sidecar(module, name, version string) image {
	return image{
		name: name, reference: "registry.k8s.io/sig-storage/" + name + ":" + version,
		program: program{
			dir: sidecarModule, pkg: "github.com/kubernetes-csi/" + path.Join(module, "cmd", name),
			version: version, path: "/" + name,
		},
		config: config{User: nonroot, Entrypoint: []string{"/" + name}},
	}
}
