// Package s3 is what Strata needs of an S3 store: one bucket at a time, every call with a context, every condition explicit, every error
// one of a few. The controller makes and removes volumes with it, the engine of tier cold reads and writes files.
//
// It hides a client library and adds nothing to S3: an object is an object, an ETag is the store's own word for one version of its content.
package s3
