// Package draft is the write side of tier cold: a file that is being written, until it is an object.
//
// S3 can't change an object; it can only replace it by another, whole one. A Draft therefore collects writes in a staged file on the cache disk, over the object that was there before (the base),
// and Commit makes a new object of both: what wasn't touched is copied by the store itself, what was written is sent. Commit returns nil only when the store has the whole content.
// docs/decisions/0024-drafts.md says why it is so, and what it costs.
package draft
