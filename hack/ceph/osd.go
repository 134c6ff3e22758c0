package main

// The OSDs: BlueStore on a sparse file each. Only BlueStore allows overwrites of erasure-coded objects.

import (
	"context"
	"fmt"
	"time"
)

// makeOSD creates an OSD's store. It needs no monitor.
func makeOSD(ctx context.Context, l Layout, d Daemon, uuid string) error {
	_, err := tool(ctx, 2*time.Minute, "ceph-osd", "--mkfs", "-c", l.Conf(), "-n", d.Entity(), "--osd-uuid", uuid, "--no-mon-config")
	if err != nil {
		return fmt.Errorf("%w\nsee %s", err, l.path("log", d.Entity()+".log"))
	}
	return nil
}

// registerOSD makes the OSD known to the monitor. Its identity is there already.
func registerOSD(ctx context.Context, l Layout, d Daemon, uuid string) error {
	_, err := ceph(ctx, l, "osd", "new", uuid, d.ID)
	return err
}

// waitOSDs waits until the OSDs take part in the cluster.
func waitOSDs(ctx context.Context, l Layout, ds ...Daemon) error {
	for _, d := range ds {
		if err := waitState(ctx, l, d); err != nil {
			return err
		}
	}
	return nil
}
