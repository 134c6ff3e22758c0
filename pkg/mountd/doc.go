// Package mountd is the holder of a node's FUSE mounts: a small process (strata-mountd) that starts the FUSE clients and outlives
// strata-node, so that the CSI service can be killed, upgraded or crash without a mount changing. This package is its protocol, its server
// and its client.
//
// The clients have sessions of their own and write to files, not pipes: they outlive the holder too, on a host; the next
// holder adopts them from its records. It mounts nothing again by itself: a dead mount is shown as dead, and repaired by the next
// Stage or Publish that asks for it.
package mountd
