// Package e2e tests Strata as users and operators meet it: deployed from the rendered chart into a real Kubernetes with two nodes, by
// claims, pods and snapshots, with a real Ceph and real disks.
//
// The tests have the build tag e2e and run inside the network namespace of the development Kubernetes: `make e2e`, or with a cluster that
// is up, `hack/kube run -- go test -tags e2e ./tests/e2e`. TestMain prepares the nodes' disks, deploys, waits, and looks at the end for
// anything that was left: volumes, mounts, loop devices, journal records. Every test has a namespace of its own.
//
// Environment: KUBECONFIG, STRATA_CEPH_DIR, STRATA_KUBE (the program of hack/kube). STRATA_E2E_KEEP=1 leaves the deployment for another run.
package e2e
