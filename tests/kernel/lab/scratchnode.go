package lab

// A node with disks, for whoever has one to run: tests, and the benchmarks.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// CreateDisk makes an empty disk of size bytes in dir that takes only as much of the host as is written to it.
func CreateDisk(dir, serial string, size int64) (Disk, error) {
	d := Disk{Image: filepath.Join(dir, serial+".img"), Serial: serial}
	if err := os.WriteFile(d.Image, nil, 0o600); err != nil {
		return d, err
	}
	return d, os.Truncate(d.Image, size)
}

// BootNode boots a node that has disks and everything that makes scratch volumes of them: modules, loaded, and tools, of which more can be
// named that the host has. Memory that isn't given is 1536 MiB, and CPUs are 2.
func BootNode(ctx context.Context, cfg Config, tools ...string) (*Machine, error) {
	files := make(map[string]string)
	if err := hostTools(files, slices.Concat(diskTools(), tools)); err != nil {
		return nil, err
	}
	maps.Copy(files, cfg.Files)
	cfg.Files, cfg.Modules = files, slices.Concat(diskModules(), []string{"fuse"}, cfg.Modules)
	if cfg.Memory == 0 {
		cfg.Memory = 1536
	}
	if cfg.CPUs == 0 {
		cfg.CPUs = 2
	}
	m, err := Boot(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := m.findDisks(ctx); err != nil {
		return nil, errors.Join(err, m.Kill())
	}
	return m, nil
}

// findDisks loads the modules and waits for the disks.
func (m *Machine) findDisks(ctx context.Context) error {
	if _, err := m.Run(ctx, append([]string{"modprobe", "-a"}, diskModules()...)...); err != nil {
		return err
	}
	for _, d := range m.disks {
		if _, err := m.Device(ctx, d.Serial); err != nil {
			return err
		}
	}
	return nil
}

// Device returns the device node of the disk with that serial number, waiting until the kernel has found it: the order
// in which it finds disks is its own.
func (m *Machine) Device(ctx context.Context, serial string) (string, error) {
	const script = `for i in $(seq 300); do for d in /sys/block/nvme*n1; do
		if [ "$(tr -d ' ' <$d/device/serial)" = "$0" ] && [ -b /dev/${d##*/} ]; then echo /dev/${d##*/}; exit 0; fi
	done; sleep 0.1; done; exit 1`
	dev, err := m.Run(ctx, "sh", "-c", script, serial)
	if err != nil {
		return "", fmt.Errorf("disk %s: %w", serial, err)
	}
	return dev, nil
}
