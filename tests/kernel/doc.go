// Package kernel tests the warm tier on a node whose kernel has the CephFS client: an
// emulated machine (package lab) against a running development Ceph.
//
// STRATA_CEPH_DIR names the directory of the cluster (go run ./hack/ceph start). The
// emulated machine sees the cluster's ports on its own 127.0.0.1.
package kernel
