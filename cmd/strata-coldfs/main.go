// Command strata-coldfs is the engine of one volume of tier cold. strata-mountd starts it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/coldfs"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/logging"
	"github.com/strata-csi/strata/pkg/version"
)

const usage = `strata-coldfs serves a prefix of an S3 bucket as a file system: one object is one file.

It is started by strata-mountd, which has mounted the volume, and gets everything by descriptor, so that no credential is
in an argument, the environment or a file system:

  3  /dev/fuse, mounted, from which nobody has read
  4  the configuration of the volume, in JSON
  5  the access key, in JSON: {"accessKeyID": "...", "secretAccessKey": "..."}
  6  the socket to strata-mountd, which may be left out (closed) when it is started by hand

It needs no privilege. SIGTERM makes it commit what is open and end; when it ends otherwise, what was not yet committed by
close() or fsync() is lost, and nothing else. The mount then answers "transport endpoint is not connected" until
strata-mountd makes a new one.

Flags:
`

func main() {
	if err := run(); err != nil {
		klog.ErrorS(err, "strata-coldfs stops")
		klog.Flush()
		os.Exit(1)
	}
}

func run() error {
	flags := pflag.NewFlagSet("strata-coldfs", pflag.ExitOnError)
	showVersion := flags.Bool("version", false, "print the version and exit")
	log := logging.AddFlags(flags)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage, flags.FlagUsages()) }
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if *showVersion {
		fmt.Println(version.String())
		return nil
	}
	if err := log.Apply(); err != nil {
		return err
	}
	if err := coldfs.Seal(); err != nil {
		return err
	}
	o, err := options()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return coldfs.Run(ctx, o)
}

// options reads the descriptors.
func options() (coldfs.Options, error) {
	var o coldfs.Options
	for _, d := range []struct {
		fd   int
		what string
	}{{control.FDFuse, "/dev/fuse"}, {control.FDConfig, "the configuration"}, {control.FDCredentials, "the access key"}} {
		if _, err := unix.FcntlInt(uintptr(d.fd), unix.F_GETFD, 0); err != nil {
			return o, fmt.Errorf("descriptor %d, which is %s, is not open: strata-mountd starts this program; see --help", d.fd, d.what)
		}
		unix.CloseOnExec(d.fd)
	}
	o.Fuse = os.NewFile(control.FDFuse, "/dev/fuse")
	if _, err := unix.FcntlInt(control.FDControl, unix.F_GETFD, 0); err == nil {
		o.Control = os.NewFile(control.FDControl, "control")
	}
	var err error
	if o.Config, err = coldfs.ReadConfig(os.NewFile(control.FDConfig, "config")); err != nil {
		return o, err
	}
	o.Credentials, err = coldfs.ReadCredentials(os.NewFile(control.FDCredentials, "credentials"))
	return o, err
}
