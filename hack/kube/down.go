package main

// Taking a cluster down: its machine with all that runs and is mounted in it, and then what namespaces don't hold.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
)

// destroy ends the cluster and removes its directory. It refuses a directory without our marker.
func destroy(ctx context.Context, l Layout, say *Progress) error {
	_, err := l.readMarker()
	if errors.Is(err, errNotOurs) {
		return err
	}
	exists := !errors.Is(err, fs.ErrNotExist) // a marker that can't be parsed is one all the same
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := end(ctx, "the machine", l.machineCommand()); err != nil {
		return err
	}
	if !exists {
		// An empty directory is what a crash before the marker leaves; any other was refused above.
		if err := os.Remove(l.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		say.Step("no cluster in %s", l.Dir)
		return removeCgroups(ctx, l)
	}
	say.Step("machine: ended")
	if err := errors.Join(detachLoops(ctx, l, say), removeCgroups(ctx, l)); err != nil {
		return err
	}
	return removeDir(l, say)
}

// removeDir removes the directory, the marker last: a removal that was interrupted can be taken up again. A mount in it
// would be somebody's data.
func removeDir(l Layout, say *Progress) error {
	mounts, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return !strings.HasPrefix(i.Mountpoint, l.Dir+"/"), false })
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is mounted and not by this cluster, whose mounts are all gone: unmount it", mounts[0].Mountpoint)
	}
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == markerName {
			continue
		}
		if err := os.RemoveAll(l.path(e.Name())); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return err
	}
	say.Step("removed %s", l.Dir)
	return nil
}
