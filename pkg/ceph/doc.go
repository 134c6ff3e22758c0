// Package ceph is what Strata asks of a Ceph cluster: commands to the manager and monitors, a few
// CephFS directory operations, and locks in a RADOS namespace of ours, behind one interface (Conn) so that the
// same code runs on librados (package librados, the only one with cgo) and on a fake (package cephtest).
//
// Every call has a deadline. The manager runs the volume commands of the whole cluster one at a time, so their
// number is the throughput: see docs/decisions for the budget each CSI call keeps.
package ceph
