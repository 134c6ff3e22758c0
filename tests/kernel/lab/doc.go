// Package lab runs an emulated machine with a kernel of Debian's: that of the release, or the newer one of its backports.
//
// The machine gives tests a kernel the host may not have: the CephFS client, NVMe
// disks, a node that can lose its power. It is emulated in software (no
// virtualization is asked for), so it runs in any container that may start
// processes; its timings mean nothing.
//
// A machine has no disk of its own: it boots into an initramfs put together from
// busybox, the modules of Debian's kernel package and static Go programs of this
// project. Its network reaches the host's 127.0.0.1 and forwards a range of its own
// local ports there, where the development Ceph listens.
package lab
