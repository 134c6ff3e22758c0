// Command s3 (go -C hack/s3 build) is a small S3 server for tests: versitygw's gateway over a directory, on 127.0.0.1. It is a module of its own since the gateway
// brings a large graph of modules that the driver needs nothing of; pkg/s3/s3test builds and starts it.
//
// The access key comes on standard input, as two lines: the key's id and its secret. The end of standard input ends the server, so that it doesn't outlive the
// test that started it.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	listen := flag.String("listen", "", "where to listen, 127.0.0.1:PORT")
	dir := flag.String("dir", "", "the directory that holds the buckets; its file system must have extended attributes")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, *listen, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "s3:", err)
		os.Exit(1)
	}
}

// requests is far above what a test has at once; the gateway answers 503 beyond it.
const requests = 4096

func run(ctx context.Context, listen, dir string) error {
	if listen == "" || dir == "" {
		return errors.New("-listen and -dir are needed")
	}
	in := bufio.NewScanner(os.Stdin)
	var key [2]string
	for i := range key {
		if !in.Scan() {
			return errors.New("standard input must have two lines: the id of the access key, and its secret")
		}
		key[i] = in.Text()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for in.Scan() {
		}
		cancel()
	}()
	attributes := meta.XattrMeta{}
	if err := attributes.Test(dir); err != nil {
		return fmt.Errorf("%s has no extended attributes, where the gateway keeps what it knows of an object: %w", dir, err)
	}
	store, err := posix.New(dir, attributes, posix.PosixOpts{
		// Its zero value refuses every copy.
		CopyObjectThreshold: 5 << 30,
		Concurrency:         requests,
	})
	if err != nil {
		return err
	}
	err = embedgw.RunVersityGW(ctx, store, &embedgw.Config{
		RootUserAccess:    key[0],
		RootUserSecret:    key[1],
		Ports:             []string{listen},
		MaxConnections:    requests,
		MaxRequests:       requests,
		MultipartMaxParts: 10_000,
		KeepAlive:         true,
		Quiet:             true,
	})
	if ctx.Err() != nil { // it was told to end
		return nil
	}
	return err
}
