// Package projectquota limits a tree of directories on XFS by the kernel's project quota: every inode has the number of a project, a
// directory marked to inherit gives its own to what is made in it, and a project has hard limits of space and inodes.
//
// It limits accidents, not attackers. In the initial user namespace whoever owns a file may give it another number
// (FS_IOC_FSSETXATTR, chattr -p), no capability needed: it then counts for another project, or for none. In any other user namespace the
// kernel refuses that (fileattr_set_prepare in fs/ioctl.c). Root is not exempt from the limits of XFS.
//
// The package speaks to the kernel itself: no cgo, no program. The file system must be mounted with prjquota.
package projectquota
