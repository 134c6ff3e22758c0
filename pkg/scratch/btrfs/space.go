package btrfs

// What the disk has, and what is promised of it.

import (
	"context"
	"errors"
	"fmt"
	"os"

	fs "github.com/strata-csi/strata/pkg/btrfs"
	"github.com/strata-csi/strata/pkg/volume"
)

// Capacity counts what is free and what our volumes have, less what volumes below other paths of the same file system were promised.
func (d *Disk) Capacity(context.Context) (int64, error) {
	free, err := d.free()
	if err != nil {
		return 0, err
	}
	ours, err := d.ours()
	if err != nil {
		return 0, err
	}
	err = d.eachCharge(func(g fs.Group, c fs.Charge) error {
		if _, ok := ours[g.Number()]; ok {
			free += c.Used
		} else {
			free -= max(c.Limit-c.Used, 0)
		}
		return nil
	})
	return max(free, 0), err
}

// free is what a volume could still write, whatever it writes: where no chunk is made yet metadata may come, at the price of its profile.
func (d *Disk) free() (int64, error) {
	s, err := d.fs.Space()
	if err != nil {
		return 0, err
	}
	dearer := max(s.DataCopies, s.MetadataCopies)
	return s.InChunks + (s.Available-s.InChunks)/dearer*s.DataCopies, nil
}

// admit refuses more than is free and not promised to others. The error wraps volume.ErrExhausted.
func (d *Disk) admit(more int64) error {
	free, err := d.free()
	if err != nil {
		return err
	}
	err = d.eachCharge(func(_ fs.Group, c fs.Charge) error {
		free -= max(c.Limit-c.Used, 0)
		return nil
	})
	if err != nil {
		return err
	}
	if more > free {
		return fmt.Errorf("%w: %d bytes are asked for and %s has %d that are free and not promised to other volumes", volume.ErrExhausted, more, d.path, max(free, 0))
	}
	return nil
}

// eachCharge looks at the groups of subvolumes that live. What is reserved isn't looked at.
func (d *Disk) eachCharge(look func(fs.Group, fs.Charge) error) error {
	groups, err := d.fs.Groups(level)
	if err != nil {
		return err
	}
	for _, g := range groups {
		state, err := d.fs.State(g.Number())
		if err != nil {
			return err
		}
		if state != fs.Alive {
			continue // what it is charged for isn't free, and it is promised nothing
		}
		c, err := d.fs.Settled(g)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		if err := look(g, c); err != nil {
			return err
		}
	}
	return nil
}

// Usage is what the group says. Inodes have no limit of their own; the bytes that they take are charged.
func (d *Disk) Usage(_ context.Context, name, _ string) (volume.Usage, error) {
	c, err := d.charge(name)
	if err != nil {
		return volume.Usage{}, err
	}
	free, err := d.free()
	if err != nil {
		return volume.Usage{}, err
	}
	used := c.Used + c.Reserved
	return volume.Usage{TotalBytes: c.Limit, UsedBytes: used, AvailableBytes: max(min(c.Limit-used, free), 0)}, nil
}

// charge reads the group of a volume.
func (d *Disk) charge(name string) (fs.Charge, error) {
	s, err := d.lookup(name)
	if err != nil {
		return fs.Charge{}, err
	}
	defer s.Close()
	c, err := d.fs.Charge(groupOf(s.ID))
	if errors.Is(err, os.ErrNotExist) {
		return c, fmt.Errorf("%w: scratch volume %s on %s has no quota group: were quotas turned off? delete the pod, so that it is made anew: %w",
			volume.ErrPrecondition, name, d.path, err)
	}
	return c, err
}

// Grow raises the limit.
func (d *Disk) Grow(_ context.Context, name, _ string, size int64) error {
	s, err := d.lookup(name)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := checkSize(size); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := d.charge(name)
	if err != nil || size <= c.Limit {
		return err
	}
	if err := d.admit(size - c.Limit); err != nil {
		return err
	}
	return d.fs.Limit(groupOf(s.ID), size)
}
