// Package s3test starts a real S3 server for a test (hack/s3: versitygw over a directory), and a proxy that does to requests what networks and stores do, over TLS where a test
// wants it.
package s3test
