// Package warm is the controller's side of the tier "warm": CephFS subvolumes.
//
// The subvolume is the truth about a volume. What the subvolume API has no place for (the full CSI name, the owner, the
// source) is a record in an extended attribute of the subvolume's base directory, out of its users' reach; snapshot
// names, which CSI wants unique in the whole cluster and Ceph only in a subvolume, have a directory each below
// /strata/<namePrefix>. There is no journal: every call first looks, and a call that was interrupted is finished by
// its repetition, also in another process.
//
// The manager runs the volume commands of a cluster one at a time, so a call sends it only what nothing else can do:
// one command for a new volume, none for a repeated request, one for a delete, two for a snapshot. Everything else goes to
// the metadata server, which works in parallel.
package warm
