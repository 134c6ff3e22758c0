// Package move renames objects of tier cold. S3 has no rename: a file is copied by the store and then removed; a directory is all of its files, one after the other and many at once, which is written down before so that it is ended after a crash.
//
// Nothing is removed before its copy is proven, and nothing is written over that isn't the move's own. docs/decisions/0028-moves.md says what that costs and what stays open.
package move
