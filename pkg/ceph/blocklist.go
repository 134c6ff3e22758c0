package ceph

// Shutting clients out: the blocklist of the OSDs, which the metadata servers go by too. An entry is one client, ip:port/nonce, or with port
// and nonce 0 every client of an IP address, those that come later too (OSDMap::is_blocklisted).

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// FencingCapabilities are what fencing needs in one file system, in the order in which `ceph auth` takes them. A metadata server takes
// commands from who may do everything there, and from nobody else (MDSDaemon::handle_command). Entries that are lifted are those of
// addresses as a whole alone.
func FencingCapabilities(fs string) []string {
	return []string{
		"mon", `allow r, allow command "osd blocklist" with blocklistop=add, allow command "osd blocklist" with blocklistop=rm addr regex ".*:0/0"`,
		"mds", "allow * fsname=" + fs,
	}
}

// Blocklist shuts a client out for a time: OSDs refuse its operations, metadata servers end its session.
func Blocklist(ctx context.Context, conn Conn, address string, duration time.Duration) error {
	if _, nonce, _ := strings.Cut(address, "/"); nonce == "" || nonce == "0" {
		return fmt.Errorf("%q names no single client (ip:port/nonce)", address)
	}
	return blocklist(ctx, conn, address, duration)
}

// BlocklistIP shuts out every client of an IP address, and every daemon of Ceph that works there: see Daemons.
func BlocklistIP(ctx context.Context, conn Conn, ip netip.Addr, duration time.Duration) error {
	return blocklist(ctx, conn, whole(ip), duration)
}

// LiftIP undoes BlocklistIP, or finds it undone. Clients that were shut out by their own address stay so.
func LiftIP(ctx context.Context, conn Conn, ip netip.Addr) error {
	_, err := conn.Mon(ctx, map[string]any{"prefix": "osd blocklist", "blocklistop": "rm", "addr": whole(ip)})
	return err
}

func whole(ip netip.Addr) string { return netip.AddrPortFrom(ip.Unmap(), 0).String() + "/0" }

func blocklist(ctx context.Context, conn Conn, address string, duration time.Duration) error {
	// The monitors take no number without a fraction for one with.
	seconds := json.Number(strconv.FormatFloat(duration.Seconds(), 'f', 1, 64))
	_, err := conn.Mon(ctx, map[string]any{"prefix": "osd blocklist", "blocklistop": "add", "addr": address, "expire": seconds})
	return err
}

// addrs is an address of a daemon as the maps have it: one for each protocol.
type addrs struct {
	Vec []struct {
		Addr string `json:"addr"`
	} `json:"addrvec"`
}

// Daemons are the monitors, OSDs, metadata servers and the active manager of a cluster ("osd.3"), by their IP addresses. Standby managers
// and gateways stand in no map with their address.
func Daemons(ctx context.Context, conn Conn) (map[netip.Addr][]string, error) {
	type server struct {
		Name  string `json:"name"`
		Addrs addrs  `json:"addrs"`
	}
	var mons struct {
		Mons []struct {
			Name  string `json:"name"`
			Addrs addrs  `json:"public_addrs"`
		} `json:"mons"`
	}
	var osds struct {
		OSDs []struct {
			ID      int   `json:"osd"`
			Public  addrs `json:"public_addrs"`
			Cluster addrs `json:"cluster_addrs"`
		} `json:"osds"`
	}
	var files struct {
		Standbys    []server `json:"standbys"`
		FileSystems []struct {
			Map struct {
				Info map[string]server `json:"info"`
			} `json:"mdsmap"`
		} `json:"filesystems"`
	}
	var manager struct {
		Name  string `json:"active_name"`
		Addrs addrs  `json:"active_addrs"`
	}
	for prefix, into := range map[string]any{"mon dump": &mons, "osd dump": &osds, "fs dump": &files, "mgr dump": &manager} {
		raw, err := conn.Mon(ctx, map[string]any{"prefix": prefix, "format": "json"})
		if err != nil {
			return nil, err
		}
		if err := decode(prefix, raw, into); err != nil {
			return nil, err
		}
	}
	all := map[netip.Addr][]string{}
	add := func(daemon string, a addrs) {
		seen := map[netip.Addr]bool{}
		for _, v := range a.Vec {
			at, err := netip.ParseAddrPort(v.Addr)
			if ip := at.Addr().Unmap(); err == nil && !seen[ip] { // one that is down may have none
				seen[ip] = true
				all[ip] = append(all[ip], daemon)
			}
		}
	}
	for _, m := range mons.Mons {
		add("mon."+m.Name, m.Addrs)
	}
	for _, o := range osds.OSDs {
		add("osd."+strconv.Itoa(o.ID), addrs{Vec: append(o.Public.Vec, o.Cluster.Vec...)})
	}
	for _, s := range files.Standbys {
		add("mds."+s.Name, s.Addrs)
	}
	for _, f := range files.FileSystems {
		for _, s := range f.Map.Info {
			add("mds."+s.Name, s.Addrs)
		}
	}
	add("mgr."+manager.Name, manager.Addrs)
	return all, nil
}
