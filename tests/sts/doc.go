// Package sts attacks a real S3 store, the radosgw of the development Ceph, with what a node holds of one volume of tier cold whose identity is its own: credentials that are
// bound to the volume's prefix and end by themselves. Each attempt must be refused by the store itself, since whoever has taken a node runs no code of ours.
package sts
