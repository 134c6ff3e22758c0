package ceph

// Sessions of clients at the metadata servers, and shutting clients out. A user needs FencingCapabilities for it.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Session is a client that has a file system mounted. What the metadata server knows itself is that it proved to be the user that was
// asked for, and its address; Host and Root are what the client says.
type Session struct {
	Client  int64  // number of the client, the same at all metadata servers
	Address string // ip:port/nonce: of this client alone, and never again of another
	User    string // as the client says
	Host    string // name of its machine
	Root    string // the directory that it mounts
}

// FencingCapabilities are what fencing needs in one file system, in the order in which `ceph auth` takes them. A metadata server takes
// commands from who may do everything there, and from nobody else (MDSDaemon::handle_command).
func FencingCapabilities(fs string) []string {
	return []string{
		"mon", `allow r, allow command "osd blocklist" with blocklistop=add`,
		"mds", "allow * fsname=" + fs,
	}
}

// Sessions are the sessions of a file system whose client has proved to be a user, named without "client."; one for each client.
func Sessions(ctx context.Context, conn Conn, fs, user string) ([]Session, error) {
	return sessions(ctx, conn, fs, "auth_name="+user)
}

func sessions(ctx context.Context, conn Conn, fs string, filters ...string) ([]Session, error) {
	ranks, err := activeRanks(ctx, conn, fs)
	if err != nil {
		return nil, err
	}
	var all []Session
	for _, rank := range ranks {
		raw, err := conn.MDS(ctx, fs, rank, map[string]any{"prefix": "session ls", "filters": filters, "format": "json"})
		if err != nil {
			return nil, err
		}
		var list []struct {
			ID     int64 `json:"id"`
			Entity struct {
				Addr struct {
					Addr  string `json:"addr"`
					Nonce uint32 `json:"nonce"`
				} `json:"addr"`
			} `json:"entity"`
			Metadata struct {
				User string `json:"entity_id"`
				Host string `json:"hostname"`
				Root string `json:"root"`
			} `json:"client_metadata"`
		}
		if err := decode("session ls", raw, &list); err != nil {
			return nil, err
		}
		for _, s := range list {
			if _, err := netip.ParseAddrPort(s.Entity.Addr.Addr); err != nil {
				return nil, fmt.Errorf("session ls: client %d has the address %q: %w", s.ID, s.Entity.Addr.Addr, err)
			}
			if slices.ContainsFunc(all, func(o Session) bool { return o.Client == s.ID }) {
				continue // at another metadata server
			}
			all = append(all, Session{Client: s.ID, Address: s.Entity.Addr.Addr + "/" + strconv.FormatUint(uint64(s.Entity.Addr.Nonce), 10),
				User: s.Metadata.User, Host: s.Metadata.Host, Root: s.Metadata.Root})
		}
	}
	return all, nil
}

// activeRanks are those of the metadata servers of a file system. All must be there: what one that is down knows can't be asked.
func activeRanks(ctx context.Context, conn Conn, fs string) ([]int, error) {
	raw, err := conn.Mon(ctx, map[string]any{"prefix": "fs get", "fs_name": fs, "format": "json"})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Map struct {
			In []int          `json:"in"`
			Up map[string]int `json:"up"`
		} `json:"mdsmap"`
	}
	if err := decode("fs get", raw, &answer); err != nil {
		return nil, err
	}
	for _, rank := range answer.Map.In {
		if _, up := answer.Map.Up["mds_"+strconv.Itoa(rank)]; !up {
			return nil, fmt.Errorf("%w: rank %d of file system %s has no metadata server; see `ceph fs status %s`", ErrHung, rank, fs, fs)
		}
	}
	return answer.Map.In, nil
}

// Blocklist shuts a client out for a time: OSDs refuse its operations, metadata servers end its session.
func Blocklist(ctx context.Context, conn Conn, address string, duration time.Duration) error {
	if !strings.Contains(address, "/") {
		return fmt.Errorf("%q names no single client (ip:port/nonce)", address)
	}
	// The monitors take no number without a fraction for one with.
	seconds := json.Number(strconv.FormatFloat(duration.Seconds(), 'f', 1, 64))
	_, err := conn.Mon(ctx, map[string]any{"prefix": "osd blocklist", "blocklistop": "add", "addr": address, "expire": seconds})
	return err
}
