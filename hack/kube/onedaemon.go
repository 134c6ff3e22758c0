package main

// Starting and signalling one daemon: how tests inject faults. And what all of them are at.

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// atWork asks a daemon whether it does its work. It can do so inside of the machine only.
func atWork(ctx context.Context, l Layout, d Daemon) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// The daemons without a certificate of ours make one that nobody signs.
	unsigned := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	switch kind, _, _ := strings.Cut(d.Name, "-node-"); kind {
	case "etcd":
		return healthy(ctx, unsigned, "http://127.0.0.1:2379/health")
	case "kube-controller-manager":
		return healthy(ctx, unsigned, "https://127.0.0.1:10257/healthz")
	case "kube-scheduler":
		return healthy(ctx, unsigned, "https://127.0.0.1:10259/healthz")
	case "kube-proxy":
		return healthy(ctx, unsigned, "http://127.0.0.1:10256/healthz")
	case "containerd":
		_, err := ctr(ctx, l, d.Node, nil, "list", "--quiet")
		return err
	}
	client, err := adminClient(l)
	if err != nil {
		return err
	}
	if d.Name == "kube-apiserver" {
		return healthy(ctx, client, l.apiURL()+"/readyz")
	}
	n, err := findNode(d.Node)
	if err != nil {
		return err
	}
	if err := healthy(ctx, unsigned, "http://"+net.JoinHostPort(n.Address, "10248")+"/healthz"); err != nil {
		return err
	}
	return nodeReady(ctx, client, l, n)
}

func startOne(ctx context.Context, l Layout, name string, say *Progress) error {
	d, err := findDaemon(l, name)
	if err != nil {
		return err
	}
	started, err := l.start(ctx, d)
	if err != nil {
		return err
	}
	if started {
		say.Step("%s started", d.Name)
	} else {
		say.Step("%s is running already", d.Name)
	}
	if err := l.waitFor(ctx, d.Name, func(ctx context.Context) error { return atWork(ctx, l, d) }); err != nil {
		return err
	}
	say.Step("%s is at work", d.Name)
	return nil
}

// killOne takes DAEMON [SIGNAL].
func killOne(ctx context.Context, l Layout, words []string, say *Progress) error {
	d, err := findDaemon(l, words[0])
	if err != nil {
		return err
	}
	sig := unix.SIGKILL
	if len(words) == 2 {
		if sig, err = parseSignal(words[1]); err != nil {
			return err
		}
	}
	h, ok, err := grab(d.commandLine())
	if err != nil {
		return err
	}
	if !ok {
		say.Step("%s isn't running", d.Name)
		return nil
	}
	defer h.release()
	if err := h.send(sig); err != nil {
		return err
	}
	if sig == unix.SIGKILL || sig == unix.SIGTERM {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := h.wait(ctx, d.Name); err != nil {
			return err
		}
	}
	say.Step("%s (process %d): %s sent", d.Name, h.PID, unix.SignalName(sig))
	return nil
}

// parseSignal takes "KILL", "kill" and "SIGKILL".
func parseSignal(s string) (unix.Signal, error) {
	if sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("no signal %q; for example KILL, STOP, CONT, TERM", s)
}

func printLog(l Layout, name string, out io.Writer) error {
	if _, err := findDaemon(l, name); err != nil {
		return err
	}
	f, err := os.Open(l.Log(name))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f)
	return err
}

// status says of each daemon whether it runs and works.
func status(ctx context.Context, l Layout, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var result error
	for _, d := range daemons(l) {
		pids, err := findProcesses(d.commandLine())
		if err != nil {
			return err
		}
		state := "not running"
		if len(pids) > 0 {
			state = "at work"
			err = atWork(ctx, l, d)
		}
		if err != nil {
			state = err.Error()
		}
		if len(pids) == 0 || err != nil {
			result = errTold
		}
		fmt.Fprintf(table, "%s\t%s\n", d.Name, state)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return result
}
