// Package cold runs tier cold as users meet it: a strata-controller, two nodes with a strata-node, a strata-mountd and its engines each, and a real S3 server, driven
// as kubelet and the sidecars would. Processes are killed, credentials go bad, the store goes away, and in the end nothing may be left.
package cold
