// Package powercut is the guest's half of the power cut test of tests/kernel: tests with the build tag lab, of which the first ends with the
// machine and the second looks, on the same disks, at what is left.
package powercut
