// Package librados is the ceph.Conn that talks to a real cluster, through librados and libcephfs (go-ceph). It is the
// only package of the project with cgo; build it with go-ceph's tag for the release of the installed libraries, for
// example -tags pacific for Ceph 16.2.
//
// librados and libcephfs know no context. Every call therefore runs in one of a bounded number of places (see slots): the caller
// leaves at its deadline with ceph.ErrHung, the call keeps its place until the library returns. Client timeouts make it return where
// the library has one.
package librados
