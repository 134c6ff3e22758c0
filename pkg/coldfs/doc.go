// Package coldfs is the engine of tier cold: it serves a prefix of a bucket as a file system, one object for one file.
//
// The kernel's requests come in through pkg/coldfs/device. What a path means is asked of the store whenever the kernel asks; what is open is a node of pkg/coldfs/nodes, which stands for one
// version of an object. Reads go through pkg/coldfs/reading and the cache of the node's disk, writes through pkg/coldfs/draft, renames through pkg/coldfs/move. close() and fsync() return when the store has it all.
// docs/decisions/0026-files-and-objects.md says what is kept where, and why.
package coldfs
