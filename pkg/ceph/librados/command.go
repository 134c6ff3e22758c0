package librados

// Commands to the manager, the monitors and the metadata servers.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/ceph/go-ceph/cephfs"
	"github.com/ceph/go-ceph/rados"
)

// Mgr sends a command to the active manager; "format" is json unless the command says otherwise.
// With no manager running it waits until the deadline, and the command runs when one comes back.
func (c *Conn) Mgr(ctx context.Context, command map[string]any) ([]byte, error) {
	op := describe("mgr", command)
	raw, err := encode(op, command)
	if err != nil {
		return nil, err
	}
	return run(ctx, c.mgr, op, func() ([]byte, error) {
		return with(c.commands, shutOut, func(r *rados.Conn) ([]byte, error) {
			out, status, err := r.MgrCommand([][]byte{raw})
			return out, refused(op, err, words(status))
		})
	})
}

// words is what a status text says: of an error in the manager's own code, which comes with its stack, the last line.
func words(status string) string {
	status = strings.TrimSpace(status)
	if strings.HasPrefix(status, "Traceback") {
		return status[strings.LastIndexByte(status, '\n')+1:]
	}
	return status
}

// Mon sends a command to the monitors; "format" is json unless the command says otherwise.
func (c *Conn) Mon(ctx context.Context, command map[string]any) ([]byte, error) {
	op := describe("mon", command)
	raw, err := encode(op, command)
	if err != nil {
		return nil, err
	}
	return run(ctx, c.mon, op, func() ([]byte, error) {
		return with(c.client, shutOut, func(r *rados.Conn) ([]byte, error) {
			out, status, err := r.MonCommand(raw)
			if status == "" {
				return out, answer(op, err)
			}
			return out, refused(op, err, status)
		})
	})
}

// MDS sends a command to a metadata server, through a mount of the file system.
func (c *Conn) MDS(ctx context.Context, fs string, rank int, command map[string]any) ([]byte, error) {
	op := describe("mds."+fs+":"+strconv.Itoa(rank), command)
	raw, err := encode(op, command)
	if err != nil {
		return nil, err
	}
	t := c.treeOf(fs)
	return run(ctx, t.slots, op, func() ([]byte, error) {
		return with(t.mount, shutOut, func(m *cephfs.MountInfo) ([]byte, error) {
			out, status, err := m.MdsCommand(fs+":"+strconv.Itoa(rank), [][]byte{raw})
			return out, refused(op, err, words(status))
		})
	})
}

func encode(op string, command map[string]any) ([]byte, error) {
	if _, ok := command["format"]; !ok {
		command = maps.Clone(command)
		command["format"] = "json"
	}
	raw, err := json.Marshal(command)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	return raw, nil
}

// describe names a command and what it is about. Only arguments that are names are shown: others may be secrets.
func describe(daemon string, command map[string]any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v", daemon, command["prefix"])
	for _, k := range []string{"vol_name", "fs_name", "group_name", "sub_name", "snap_name", "clone_name", "target_group_name", "target_sub_name", "pool", "entity"} {
		if v, ok := command[k].(string); ok {
			fmt.Fprintf(&b, " %s=%s", k, v)
		}
	}
	return b.String()
}
