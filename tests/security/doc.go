// Package security attacks a real cluster with what one volume gives away: everything that a node holds for it. Each attempt must be
// refused by Ceph itself, since whoever has taken a node runs no code of ours.
package security
