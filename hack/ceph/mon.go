package main

// The monitor and the manager.

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// makeMon creates the monitor's store with all identities in it.
func makeMon(ctx context.Context, l Layout, fsid string, ids []Identity) error {
	mon := Daemon{"mon", "a"}
	seed, monmap := l.path("data", "seed.keyring"), l.path("data", "monmap")
	if err := writeFile(seed, []byte(renderKeyring(ids...)), 0o600); err != nil {
		return err
	}
	if _, err := tool(ctx, commandTimeout, "monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", mon.ID, l.monAddrs(), monmap); err != nil {
		return err
	}
	if _, err := tool(ctx, commandTimeout, "ceph-mon", "--mkfs", "-c", l.Conf(), "-n", mon.Entity(), "--monmap", monmap, "--keyring", seed); err != nil {
		return err
	}
	for _, f := range []string{seed, monmap} {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return nil
}

// waitMon waits until the monitor answers commands.
func waitMon(ctx context.Context, l Layout) error {
	return poll(ctx, 200*time.Millisecond, func() (bool, string, error) {
		_, err := adminSocket(ctx, l, Daemon{"mon", "a"}, "version")
		if err != nil {
			return false, fmt.Sprintf("the monitor (%v; see %s)", err, l.path("log")), nil
		}
		_, err = ceph(ctx, l, "--connect-timeout", "5", "fsid")
		return err == nil, fmt.Sprintf("the monitor to form a quorum (%v)", err), nil
	})
}

// waitMgr waits until the manager is the active one and has loaded its modules.
func waitMgr(ctx context.Context, l Layout, d Daemon) error {
	return poll(ctx, 300*time.Millisecond, func() (bool, string, error) {
		b, err := adminSocket(ctx, l, d, "mgr_status")
		if err != nil {
			return false, fmt.Sprintf("%s (%v; see %s)", d, err, l.Output(d)), nil
		}
		var s struct {
			Initialized bool `json:"initialized"`
		}
		// Until it is active it doesn't know the command, and says so in words.
		if err := json.Unmarshal(b, &s); err != nil || !s.Initialized {
			return false, fmt.Sprintf("%s to become active", d), nil
		}
		_, err = ceph(ctx, l, "fs", "volume", "ls")
		return err == nil, fmt.Sprintf("the modules of %s (%v)", d, err), nil
	})
}

// waitVolumes waits until the mgr's volumes module answers.
func waitVolumes(ctx context.Context, l Layout) error {
	return poll(ctx, 500*time.Millisecond, func() (bool, string, error) {
		_, err := ceph(ctx, l, "fs", "subvolume", "ls", fsName)
		return err == nil, fmt.Sprintf("the mgr's volumes module (%v)", err), nil
	})
}
