// Package s3test starts a real S3 server for a test (hack/s3: versitygw over a directory), and a proxy that does to requests what networks and stores do.
package s3test
