package ceph

// Sessions of clients at the metadata servers. A user needs FencingCapabilities to see them.

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
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

// Sessions are the sessions of a file system whose client has proved to be a user, named without "client."; one for each client.
func Sessions(ctx context.Context, conn Conn, fs, user string) ([]Session, error) {
	return sessions(ctx, conn, fs, "auth_name="+user)
}

// AllSessions are the sessions of a file system, one for each client, whoever it is.
func AllSessions(ctx context.Context, conn Conn, fs string) ([]Session, error) {
	return sessions(ctx, conn, fs)
}

// IP is the address of the client's machine, as the metadata server sees it.
func (s Session) IP() netip.Addr {
	at, _, _ := strings.Cut(s.Address, "/")
	ip, err := netip.ParseAddrPort(at) // sessions has looked at it
	if err != nil {
		return netip.Addr{}
	}
	return ip.Addr().Unmap()
}

func sessions(ctx context.Context, conn Conn, fs string, filters ...string) ([]Session, error) {
	ranks, err := activeRanks(ctx, conn, fs)
	if err != nil {
		return nil, err
	}
	var all []Session
	for _, rank := range ranks {
		command := map[string]any{"prefix": "session ls", "format": "json"}
		if len(filters) > 0 {
			command["filters"] = filters
		}
		raw, err := conn.MDS(ctx, fs, rank, command)
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
