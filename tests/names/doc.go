// Package names mounts a volume of tier cold on a real S3 store, the radosgw of the development Ceph, that has keys which aren't file names. The server of the other tests keeps objects as files, and can't
// hold them.
package names
