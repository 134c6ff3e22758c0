// Package volume holds the nouns every part of Strata shares: the tier, the
// volume and snapshot ids, what a caller asks for (Spec), what a backend answers
// (Volume, Snapshot) and the sentinel errors. It imports nothing of ours, so that
// a backend, the CSI services and the tests can all stand on it.
package volume
