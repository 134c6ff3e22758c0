// Package lvm makes scratch volumes of thick logical volumes of one LVM volume group: the limit is a device's end, and what is promised is
// set aside.
//
// # Names
//
// A volume is the logical volume strata-scratch-NAME with the tag strata; a second tag, strata.is=ext4, xfs or block, is given when it is
// whole. strata-scratch-NAME.grow is space on its way to a volume that grows. Logical volumes without the tag are never touched.
//
// # Striping
//
// In a group of several disks a volume is striped over all of them. Where one has too little left, it is linear, says so in the log, and Health
// calls it NotStriped. So one volume can have all that the group has free. Sizes are rounded up to an extent of every stripe.
//
// # Zeros
//
// Every byte is zeroed by the kernel (BLKZEROOUT without the right to only discard) before anybody can read it: of a new volume before its
// file system is made, of a larger one before the space is joined to it.
//
// # LVM without udev
//
// The commands run with udev_sync=0 and udev_rules=0: in a container nobody would answer on the semaphore that they wait on otherwise. They
// make their device nodes themselves, in /dev/mapper, which must be the node's own /dev. A udev on the node sees the devices come and
// leaves them alone. /run/lock/lvm must be the node's own too: it is what keeps its other LVM commands out.
package lvm
