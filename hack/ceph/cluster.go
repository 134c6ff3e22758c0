package main

// Bringing the cluster up.
//
// A start that was interrupted is not resumed: while DIR/provisioned is missing, the next one removes what there is and
// begins again. A provisioned cluster only gets its dead daemons started.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readyTimeout bounds a whole start. It takes under a minute on two idle cores.
	readyTimeout = 5 * time.Minute

	// portTimeout is how long to wait for a port that an outgoing connection holds: the kernel hands out
	// ports of net.ipv4.ip_local_port_range, and keeps one for a minute after the connection's end.
	portTimeout = 75 * time.Second
)

// startCluster makes the cluster if there is none, starts what isn't running, and waits until everything answers.
func startCluster(ctx context.Context, l Layout, say *Progress) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("not ready after %s", readyTimeout))
	defer cancel()
	m, err := l.readMarker()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return provision(ctx, l, say)
	case err != nil:
		return err
	}
	if _, err := os.Stat(l.ready()); errors.Is(err, fs.ErrNotExist) {
		say.Step("%s holds an interrupted start: beginning again", l.Dir)
		if err := destroy(ctx, l, say); err != nil {
			return err
		}
		return provision(ctx, l, say)
	} else if err != nil {
		return err
	}
	if m.PortBase != l.PortBase {
		return fmt.Errorf("the cluster in %s has port base %d, not %d: stop it first, or choose another --dir", l.Dir, m.PortBase, l.PortBase)
	}
	started, err := startDaemons(ctx, l, allDaemons()...)
	if err != nil {
		return err
	}
	if len(started) == 0 {
		say.Step("all %d daemons are running", len(allDaemons()))
	} else {
		say.Step("started what wasn't running: %s", joinDaemons(started))
	}
	return waitReady(ctx, l, say)
}

// startDaemons starts those of the daemons that don't run, or lets them go on, and returns them. It doesn't wait for them.
func startDaemons(ctx context.Context, l Layout, ds ...Daemon) (started []Daemon, err error) {
	running, err := runningDaemons(l)
	if err != nil {
		return nil, err
	}
	for _, d := range ds {
		if p, ok := running[d]; ok {
			if !p.paused() {
				continue
			}
			if err := resume(l, p); err != nil {
				return started, err
			}
			started = append(started, d)
			continue
		}
		if err := portsFree(ctx, d.FixedPorts(l)); err != nil {
			return started, err
		}
		if err := spawn(l, d); err != nil {
			return started, err
		}
		started = append(started, d)
	}
	return started, nil
}

// resume lets a process go on that SIGSTOP holds.
func resume(l Layout, p Process) error {
	h, ok, err := grab(l, p)
	if err != nil || !ok {
		return err
	}
	defer h.release()
	return h.send(unix.SIGCONT)
}

// provision makes a cluster from nothing.
func provision(ctx context.Context, l Layout, say *Progress) error {
	for _, d := range allDaemons() {
		if err := portsFree(ctx, d.FixedPorts(l)); err != nil {
			return err
		}
	}
	fsid, err := newUUID()
	if err != nil {
		return err
	}
	if err := l.writeMarker(marker{PortBase: l.PortBase, FSID: fsid}); err != nil {
		return err
	}
	ids, err := identities(time.Now())
	if err != nil {
		return err
	}
	if err := writeFiles(l, fsid, ids); err != nil {
		return err
	}
	say.Step("creating a cluster in %s, ports %d-%d of 127.0.0.1", l.Dir, l.PortBase, l.PortBase+portSpan-1)
	if err := makeDaemons(ctx, l, say, fsid, ids); err != nil {
		return err
	}
	err = parallel(ctx, 2,
		func(ctx context.Context) error {
			if err := makeFileSystem(ctx, l); err != nil {
				return err
			}
			say.Step("file system %q made", fsName)
			_, err := startDaemons(ctx, l, daemonsOf("mds")...)
			return err
		},
		func(ctx context.Context) error {
			if err := makeS3User(ctx, l); err != nil {
				return err
			}
			say.Step("S3 user %q made", s3User)
			_, err := startDaemons(ctx, l, gateway)
			return err
		})
	if err != nil {
		return err
	}
	if err := writeFile(l.ready(), nil, 0o644); err != nil {
		return err
	}
	return waitReady(ctx, l, say)
}

// makeDaemons makes and starts mon, mgr and OSDs. The OSDs' stores, the slowest part, need no
// monitor and are made beside it.
func makeDaemons(ctx context.Context, l Layout, say *Progress, fsid string, ids []Identity) error {
	mon, mgr, osds := daemonsOf("mon"), daemonsOf("mgr"), daemonsOf("osd")
	uuids := make([]string, len(osds))
	var stores []task
	for i, d := range osds {
		var err error
		if uuids[i], err = newUUID(); err != nil {
			return err
		}
		stores = append(stores, func(ctx context.Context) error { return makeOSD(ctx, l, d, uuids[i]) })
	}
	err := parallel(ctx, 2,
		func(ctx context.Context) error {
			if err := parallel(ctx, 2, stores...); err != nil {
				return err
			}
			say.Step("osd: %d stores made", len(osds))
			return nil
		},
		func(ctx context.Context) error {
			if err := makeMon(ctx, l, fsid, ids); err != nil {
				return err
			}
			if _, err := startDaemons(ctx, l, mon...); err != nil {
				return err
			}
			if err := watching(ctx, l, mon, func(ctx context.Context) error { return waitMon(ctx, l) }); err != nil {
				return err
			}
			say.Step("mon: running")
			if _, err := startDaemons(ctx, l, mgr...); err != nil {
				return err
			}
			for i, d := range osds {
				if err := registerOSD(ctx, l, d, uuids[i]); err != nil {
					return err
				}
			}
			return nil
		})
	if err != nil {
		return err
	}
	if _, err := startDaemons(ctx, l, osds...); err != nil {
		return err
	}
	err = watching(ctx, l, slices.Concat(mon, mgr, osds), func(ctx context.Context) error { return waitOSDs(ctx, l, osds...) })
	if err == nil {
		say.Step("osd: %d running", len(osds))
	}
	return err
}

// writeFiles writes directories, configuration and keyrings.
func writeFiles(l Layout, fsid string, ids []Identity) error {
	for _, dir := range []string{"data", "run", "log", "crash"} {
		if err := os.MkdirAll(l.path(dir), 0o755); err != nil {
			return err
		}
	}
	for _, d := range allDaemons() {
		if err := os.MkdirAll(l.Data(d), 0o700); err != nil {
			return err
		}
	}
	if err := writeFile(l.Conf(), []byte(renderConf(l, fsid, newSTSKey())), 0o600); err != nil { // it holds a key
		return err
	}
	for _, id := range ids {
		path := ""
		if strings.HasPrefix(id.Name, "client.") {
			path = l.Keyring(id.Name)
		} else if d, err := parseDaemon(id.Name); err == nil {
			path = l.DaemonKeyring(d)
		} else {
			continue // "mon." lives in the monitor's store
		}
		id.Caps = nil
		if err := writeFile(path, []byte(renderKeyring(id)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// portsFree waits until nobody holds the ports, and fails at once for one that somebody listens on.
func portsFree(ctx context.Context, ports []int) error {
	ctx, cancel := context.WithTimeout(ctx, portTimeout)
	defer cancel()
	for _, port := range ports {
		address := fmt.Sprintf("127.0.0.1:%d", port)
		err := poll(ctx, 500*time.Millisecond, func() (bool, string, error) {
			ln, err := net.Listen("tcp4", address)
			if err == nil {
				return true, "", ln.Close()
			}
			if conn, derr := net.DialTimeout("tcp4", address, time.Second); derr == nil {
				conn.Close()
				return false, "", fmt.Errorf("%s is taken (by another cluster? choose another --port-base): %w", address, err)
			}
			return false, fmt.Sprintf("port %s, which an outgoing connection holds (a --port-base below those of net.ipv4.ip_local_port_range avoids that)", address), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// waitReady waits until the cluster does everything it is for.
func waitReady(ctx context.Context, l Layout, say *Progress) error {
	err := watching(ctx, l, allDaemons(), func(ctx context.Context) error {
		if err := waitMon(ctx, l); err != nil {
			return err
		}
		return parallel(ctx, 3,
			func(ctx context.Context) error {
				if err := waitOSDs(ctx, l, daemonsOf("osd")...); err != nil {
					return err
				}
				if err := waitPGs(ctx, l); err != nil {
					return err
				}
				say.Step("pools: all placement groups active and clean")
				return nil
			},
			func(ctx context.Context) error {
				if err := waitMDS(ctx, l); err != nil {
					return err
				}
				say.Step("mds: one active, one standby")
				if err := waitVolumes(ctx, l); err != nil {
					return err
				}
				say.Step("mgr: volumes module answers")
				return nil
			},
			func(ctx context.Context) error {
				if err := waitRGW(ctx, l); err != nil {
					return err
				}
				say.Step("rgw: answers at %s", l.S3Endpoint())
				return nil
			})
	})
	if err != nil {
		return err
	}
	say.Step("ready")
	return nil
}
