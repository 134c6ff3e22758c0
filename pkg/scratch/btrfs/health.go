package btrfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	fs "github.com/strata-csi/strata/pkg/btrfs"
	"github.com/strata-csi/strata/pkg/volume"
)

// Health looks at the file system, its devices, and whether the volume is still held to its size.
func (d *Disk) Health(_ context.Context, name, _ string) ([]volume.Condition, error) {
	var found []volume.Condition
	add := func(s volume.Severity, reason, format string, a ...any) {
		found = append(found, volume.Condition{Severity: s, Reason: reason, Message: fmt.Sprintf(format, a...)})
	}
	readOnly, err := d.fs.ReadOnly()
	if err != nil {
		return nil, err
	}
	if readOnly {
		add(volume.Inaccessible, "FileSystemReadOnly", "the file system at %s turned read-only, as it does after an error it can't go on with; see the kernel log of the node, then mount it anew", d.path)
	}
	devices, err := d.fs.Devices()
	if err != nil {
		return nil, err
	}
	for _, v := range devices {
		switch {
		case v.Missing:
			add(volume.Degraded, "DeviceMissing", "device %d of the file system at %s is missing; what it alone held can't be read", v.ID, d.path)
		case len(v.Errors) > 0:
			add(volume.Degraded, "DeviceErrors", "device %s of the file system at %s had errors (%s); replace it, or reset the counters: btrfs device stats -z %s",
				v.Path, d.path, counts(v.Errors), d.path)
		}
	}
	limit, err := d.limited(name)
	if err != nil {
		return nil, err
	}
	if limit != "" {
		add(volume.Degraded, "NoLimit", "%s: the volume can take the whole disk; delete the pod, and find out who changed the quotas of %s", limit, d.path)
	}
	return found, nil
}

func counts(errors map[string]uint64) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(errors)) {
		all = append(all, fmt.Sprintf("%s %d", name, errors[name]))
	}
	return strings.Join(all, ", ")
}

// limited says why a volume isn't held to its size, or nothing.
func (d *Disk) limited(name string) (string, error) {
	mode, err := d.fs.QuotaMode()
	if err != nil {
		return "", err
	}
	if mode != fs.QuotaSimple {
		return fmt.Sprintf("quotas are %s, not %s", mode, fs.QuotaSimple), nil
	}
	c, err := d.charge(name)
	switch {
	case errors.Is(err, volume.ErrPrecondition):
		return "its quota group is gone", nil
	case err != nil:
		return "", err
	case c.Limit == 0:
		return "its quota group has no limit", nil
	}
	s, err := d.lookup(name)
	if err != nil {
		return "", err
	}
	defer s.Close()
	members, err := d.fs.Members(groupOf(s.ID))
	if err != nil {
		return "", err
	}
	if !slices.Contains(members, fs.NewGroup(0, s.ID)) {
		return "it was taken out of its quota group", nil
	}
	return "", nil
}
