package main

// The daemons of the cluster: their names, and how each is started.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Daemon is one of the cluster's daemons, such as osd.3.
type Daemon struct{ Kind, ID string }

// gateway is radosgw. Ceph knows it as a client, people as "rgw".
var gateway = Daemon{"client", "rgw"}

// allDaemons lists the cluster's daemons in the order they are started.
func allDaemons() []Daemon {
	ds := []Daemon{{"mon", "a"}, {"mgr", "x"}}
	for i := range osdCount {
		ds = append(ds, Daemon{"osd", strconv.Itoa(i)})
	}
	return append(ds, Daemon{"mds", "a"}, Daemon{"mds", "b"}, gateway)
}

func daemonsOf(kind string) []Daemon {
	return slices.DeleteFunc(allDaemons(), func(d Daemon) bool { return d.Kind != kind })
}

// parseDaemon turns what a person types into a Daemon.
func parseDaemon(s string) (Daemon, error) {
	for _, d := range allDaemons() {
		if s == d.String() {
			return d, nil
		}
	}
	return Daemon{}, fmt.Errorf("no daemon %q; there are: %s", s, joinDaemons(allDaemons()))
}

func joinDaemons(ds []Daemon) string {
	var names []string
	for _, d := range ds {
		names = append(names, d.String())
	}
	return strings.Join(names, " ")
}

// String is the name on the command line: osd.3, rgw.
func (d Daemon) String() string {
	if d == gateway {
		return d.ID
	}
	return d.Entity()
}

// Entity is the name in Ceph: osd.3, client.rgw.
func (d Daemon) Entity() string { return d.Kind + "." + d.ID }

// FixedPorts are the ports that the daemon must have; all others choose theirs.
func (d Daemon) FixedPorts(l Layout) []int {
	switch {
	case d.Kind == "mon":
		return []int{l.monV2(), l.monV1()}
	case d == gateway:
		return []int{l.rgwPort()}
	}
	return nil
}

// Program is the executable's name.
func (d Daemon) Program() string {
	if d == gateway {
		return "radosgw"
	}
	return "ceph-" + d.Kind
}

// Args are the arguments of a daemon. All run in the foreground: a daemonized ceph-mgr closes
// its standard error, and "fs subvolume authorize" then fails with EBADF because the volumes
// module writes to it.
func (d Daemon) Args(l Layout) []string { return []string{"-f", "-c", l.Conf(), "-n", d.Entity()} }
