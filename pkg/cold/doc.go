// Package cold is the controller's side of tier cold: volumes that are prefixes of S3 buckets, or buckets. It keeps no state and has no credential: what a volume is
// stands in its marker (package marker), where it is in its id, and the access key comes with each request.
package cold
