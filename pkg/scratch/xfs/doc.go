// Package xfs makes scratch volumes of directories on one XFS, each with a project quota (package projectquota): a hard limit of bytes
// and one of inodes, set in well under a millisecond, with nothing between the pod and the disk.
//
// # What the limit holds against
//
// It holds against accidents: a pod that writes until it is refused stops at its size, root included, whatever it does with
// holes, preallocation, clones of files or many small files. It does not hold against a pod that wants out. The owner of a file may give it another project
// number without any capability (chattr -p 0); from then on the file counts for no volume, or for a neighbour's, whose limit it then
// fills. Root in a container owns what it makes, so nearly every pod can. A pod in a user namespace of its own (hostUsers: false) can't: outside
// the initial user namespace the kernel refuses to change the number. So this kind is never chosen unasked: the configuration of the pool must name it, and
// its pods should be trusted, or have hostUsers: false.
//
// A limit is no reservation. Files of others on the same file system, and of those who left, take space that was promised; Health says when the rest of a
// volume isn't there any more. Give the tier a file system of its own.
//
// A pod sees other pods' volumes no more than with any other kind: its mount shows its own directory and nothing above.
//
// # On the disk
//
// PATH/.strata-scratch/NAME is the volume: a directory of root's with mode 0700 that has the project number, and below it "data", the
// directory that is mounted. A pod can change the number of the second, never of the first, and only the first is ever read. Names that begin
// with a dot are steps: .new-NAME is being made, .gone-NAME is being destroyed, .held-ID keeps a number, and its limits, from being used again
// while deleted files of it are open somewhere.
//
// # Wiping
//
// WipeZero is refused: only what is there at the end could be overwritten, not what the pod had deleted before. WipeDiscard needs the file system mounted with
// the option discard, by which XFS tells the disk of all that is freed, when it is freed. A new volume reads as zeros in any case: XFS lets nobody read what he
// didn't write.
package xfs
