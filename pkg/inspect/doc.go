// Package inspect is what an operator can be told of the Ceph clusters behind the volumes: whether they can serve, what volumes
// there are and what they hold, and what is in them that nobody may want any more. strata-controller prints it as JSON
// (`strata-controller inspect`), and kubectl-strata, which has no credential of Ceph, asks for it there.
//
// Nothing here can change a cluster: the collector has its connections behind a type without a method that does, and sends
// only the commands that are listed with it. Every look ends with its context, and a cluster that doesn't answer is a finding.
package inspect
