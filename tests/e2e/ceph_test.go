//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/strata-csi/strata/tests/harness"
)

// namePrefix is that of the cluster configuration in values.yaml: it begins the name of every subvolume group.
const namePrefix = "e2e"

// group is the subvolume group of the claims of a namespace: the class's team is ${pvc.namespace}.
func group(namespace string) string { return namePrefix + "." + namespace }

// subvolumes are those of the claims of a namespace, removed ones with snapshots included.
func (c *cluster) subvolumes(namespace string) ([]string, error) {
	groups, err := c.names("fs", "subvolumegroup", "ls", harness.FS)
	if err != nil || !slices.Contains(groups, group(namespace)) {
		return nil, err
	}
	return c.names("fs", "subvolume", "ls", harness.FS, "--group_name", group(namespace))
}

func (c *cluster) names(args ...string) ([]string, error) {
	out, err := c.ceph.Try(append(args, "--format", "json")...)
	if err != nil {
		return nil, err
	}
	var list []struct{ Name string }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("ceph %v: %w", args, err)
	}
	names := make([]string, len(list))
	for i, l := range list {
		names[i] = l.Name
	}
	return names, nil
}
