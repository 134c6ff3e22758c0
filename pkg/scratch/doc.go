// Package scratch is the node's side of tier scratch: volumes on the node's own disks, of exactly the size that was asked for, empty
// whenever they are mounted and gone when they are unmounted. A volume is made by Stage (of a PersistentVolume) or PublishInline (of a
// pod's own specification) and destroyed by their opposites.
//
// Every volume has a record in the journal before anything of it exists and until nothing of it is left. The record reserves its space: a disk
// is never promised more than it holds. What a killed process left is found by its record; since a volume's
// content is worth nothing before it was mounted and after it was unmounted, it is destroyed and made anew, never repaired. That it is
// mounted is read from the mount table, where neither the death of a process nor a restart can leave it behind.
// The same holds for what was mounted when the machine went down.
//
// A record that nobody asks for any more is the Reaper's: it marks it, waits, asks again, and only then destroys. While it can't learn
// which pods live it does nothing.
package scratch
