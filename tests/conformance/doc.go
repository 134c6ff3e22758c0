// Package conformance runs the suite of pkg/ceph/cephtest/conformance, and what can only be seen on a real cluster
// (a manager that is stopped, clients that are shut out), through librados:
//
//	eval "$(go run ./hack/ceph env)"
//	go test -tags pacific ./tests/conformance
//
// STRATA_CEPH_DIR names the directory of a running cluster of hack/ceph; it is .strata/ceph of the checkout otherwise.
package conformance
