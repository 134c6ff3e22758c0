// Package btrfs is what Strata asks of a btrfs file system, by plain ioctls: subvolumes, simple quotas, space and devices. It runs no
// program and knows nothing of volumes.
//
// Numbers and structures are those of include/uapi/linux/btrfs.h and btrfs_tree.h. What the kernel tells only in sysfs (the mode of
// quotas, and a group's usage as it is now and not as it was committed last) is read there: /sys must be mounted.
//
// Simple quotas (Linux 6.7) charge an extent to the subvolume that made it, until the extent is gone, whoever else refers to it: a
// subvolume that was destroyed stays charged while a reflink of its data lives.
//
// A limit on a group does not hold a process that can call BTRFS_IOC_SUBVOL_CREATE_V2: that takes a list of groups for the new
// subvolume from anybody who may write to the directory, and an empty list leaves the group of the parent (btrfs_qgroup_inherit in
// fs/btrfs/qgroup.c inherits by itself only where no list is given). Whoever is to be held must not reach the ioctls of the file system.
package btrfs
