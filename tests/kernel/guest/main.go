// Command guest is everything in the emulated machine that the machine itself
// needs: process 1, the agent the tests talk to, the forwarder to the host's Ceph,
// and a caller of pkg/cephkernel. It is built static and called by name:
//
//	/init          process 1 (the kernel starts it without arguments)
//	guest agent    the agent and the forwarder
//	guest mount    mounts CephFS as a JSON request on its standard input says
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() == 1 {
		fatal("init", boot())
	}
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: guest agent | guest mount <REQUEST")
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer cancel()
	switch os.Args[1] {
	case "agent":
		fatal("agent", serveAgent(ctx))
	case "mount":
		os.Exit(mount(ctx, os.Stdin, os.Stdout))
	default:
		fatal("guest", fmt.Errorf("no such command %q", os.Args[1]))
	}
}

// fatal ends the process. Process 1 takes the machine with it, by a kernel
// panic, which is what the host watches for.
func fatal(who string, err error) {
	fmt.Fprintf(os.Stderr, "guest: %s: %v\n", who, err)
	os.Exit(1)
}
