package main

// Control groups: one of each hierarchy for each node, so that a kubelet takes no other's pods for strangers in its own and
// removes them.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies are the mounted ones: one directory each with cgroup v1, the root itself with v2 alone.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		// Links such as cpuacct -> cpu,cpuacct are the same hierarchy twice.
		if e.IsDir() {
			found = append(found, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	return found, nil
}

func makeCgroups(l Layout) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		for _, n := range nodes {
			if err := os.MkdirAll(filepath.Join(root, l.cgroup(), n.Name), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeCgroups removes the cluster's groups. The kernel needs a moment after the last process of one.
func removeCgroups(ctx context.Context, l Layout) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, root := range roots {
		top := filepath.Join(root, l.cgroup())
		err := poll(ctx, 50*time.Millisecond, func() (bool, string, error) {
			err := removeGroup(top)
			return err == nil, fmt.Sprintf("control group %s to be empty (%v)", top, err), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// removeGroup removes a group and those below it, the deepest first.
func removeGroup(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("%s: %w", d, err)
		}
	}
	return nil
}
