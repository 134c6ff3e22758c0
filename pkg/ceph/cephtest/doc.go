// Package cephtest is a Ceph cluster in memory for tests: the commands, attributes and errors of Ceph 16.2.15 that
// Strata uses, several connections to it, and the faults a real one has. What it answers is held to the real cluster by
// the suite in package conformance, which runs against both.
//
// It follows the manager's volumes module (pybind/mgr/volumes of Ceph 16.2) step by step on a tree of directories, so that
// what the module leaves in the file system can be seen there. It differs in three things: the trash is emptied at once, a
// clone's copy runs when the test says so (FinishClones, StepClone, or at once with AutoClone) and leaves the cloner's queue
// after the next look at that (or later: HoldQueue), and a subvolume made before the module's second version doesn't exist.
package cephtest
