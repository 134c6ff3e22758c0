package volumecontext

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-csi/strata/pkg/volume"
)

const (
	writable = volume.ID("warm:lab:fs1:team:vol")
	snapped  = volume.ID("warm:lab:fs1:team:view:ro")
)

func context() map[string]string {
	return map[string]string{
		"tier": "warm", "clusterID": "lab", "fsName": "fs1", "path": "/volumes/team/vol/5e1f",
		"mounter": "fuse", "fuseMountOptions": "noatime, big_writes", "kernelMountOptions": "wsize=4096",
		"storage.kubernetes.io/csiProvisionerIdentity": "x",
	}
}

func snapContext() map[string]string {
	return map[string]string{
		"tier": "warm", "clusterID": "lab", "fsName": "fs1", "path": "/volumes/team/other/.snap/s1/5e1f", "readOnly": "true",
	}
}

func TestParse(t *testing.T) {
	got, err := Parse(writable, context())
	if err != nil {
		t.Fatal(err)
	}
	want := Context{ClusterID: "lab", FSName: "fs1", Path: "/volumes/team/vol/5e1f", Mounter: Fuse,
		FuseOptions: []string{"noatime", "big_writes"}, KernelOptions: []string{"wsize=4096"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, ok := got.Snapshot(); ok {
		t.Error("a writable volume has a snapshot")
	}
	ro, err := Parse(snapped, snapContext())
	if err != nil {
		t.Fatal(err)
	}
	snap, ok := ro.Snapshot()
	if d := cmp.Diff(Snapshot{Base: "/volumes/team/other", Name: "s1", Data: ".snap/s1/5e1f"}, snap); d != "" || !ok {
		t.Error(d)
	}
	if ro.Mounter != Auto {
		t.Errorf("mounter %q without the key", ro.Mounter)
	}
}

func TestMapIsWhatParseReads(t *testing.T) {
	for _, c := range []struct {
		id volume.ID
		in Context
	}{
		{writable, Context{ClusterID: "lab", FSName: "fs1", Path: "/volumes/team/vol/5e1f", Mounter: Kernel, KernelOptions: []string{"a", "b=1"}, FuseOptions: []string{"c"}}},
		{snapped, Context{ClusterID: "lab", FSName: "fs1", Path: "/volumes/team/other/.snap/s1/5e1f", Mounter: Auto, ReadOnly: true}},
	} {
		got, err := Parse(c.id, c.in.Map())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.in, got); d != "" {
			t.Error(d)
		}
	}
}

func TestParseRefusesWhatContradictsTheID(t *testing.T) {
	for _, c := range []struct {
		name, key, value, says string
		snapshot               bool
	}{
		{name: "another tier", key: "tier", value: "cold", says: "tier"},
		{name: "another cluster", key: "clusterID", value: "prod", says: `the id says "lab"`},
		{name: "no cluster", key: "clusterID", value: "", says: "clusterID"},
		{name: "another file system", key: "fsName", value: "fs2", says: "fsName"},
		{name: "another group", key: "path", value: "/volumes/rival/vol/5e1f", says: "path"},
		{name: "another volume", key: "path", value: "/volumes/team/other/5e1f", says: "path"},
		{name: "the file system's root", key: "path", value: "/", says: "path"},
		{name: "no path", key: "path", value: "", says: "path"},
		{name: "relative path", key: "path", value: "volumes/team/vol/5e1f", says: "path"},
		{name: "path that climbs", key: "path", value: "/volumes/team/vol/..", says: "path"},
		{name: "path deeper than a subvolume", key: "path", value: "/volumes/team/vol/5e1f/sub", says: "path"},
		{name: "path with a trailing slash", key: "path", value: "/volumes/team/vol/", says: "path"},
		{name: "path with a newline", key: "path", value: "/volumes/team/vol/5e\n1f", says: "path"},
		{name: "snapshot path for a writable volume", key: "path", value: "/volumes/team/vol/.snap/s1/5e1f", says: "path"},
		{name: "snapshot directory as uuid", key: "path", value: "/volumes/team/vol/.snap", says: "path"},
		{name: "read-only without ro in the id", key: "readOnly", value: "true", says: "readOnly"},
		{name: "read-only that isn't a boolean", key: "readOnly", value: "yes", says: "true or false"},
		{name: "unknown mounter", key: "mounter", value: "nfs", says: "auto, kernel, fuse"},
		{name: "empty option", key: "fuseMountOptions", value: "a,,b", says: "fuseMountOptions"},
		{name: "empty kernel option", key: "kernelMountOptions", value: ",", says: "kernelMountOptions"},
		{name: "ro in the id without read-only", key: "readOnly", value: "", says: "readOnly", snapshot: true},
		{name: "live path for a snapshot", key: "path", value: "/volumes/team/view/5e1f", says: "path", snapshot: true},
		{name: "another group's snapshot", key: "path", value: "/volumes/rival/other/.snap/s1/5e1f", says: "path", snapshot: true},
		{name: "snapshot path that climbs", key: "path", value: "/volumes/team/other/.snap/../5e1f", says: "path", snapshot: true},
		{name: "something else than .snap", key: "path", value: "/volumes/team/other/snap/s1/5e1f", says: "path", snapshot: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, m := writable, context()
			if c.snapshot {
				id, m = snapped, snapContext()
			}
			m = maps.Clone(m)
			m[c.key] = c.value
			_, err := Parse(id, m)
			if !errors.Is(err, volume.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q doesn't say %q", err, c.says)
			}
		})
	}
}

func TestParseRefusesIDsThatAreNotWarm(t *testing.T) {
	for _, id := range []volume.ID{"cold:lab:fs1:team:vol", "warm:lab:fs1:team", "warm:lab:fs1:team:vol:rw", "warm:lab:fs1:team:vol:ro:x", ""} {
		if _, err := Parse(id, context()); !errors.Is(err, volume.ErrInvalid) {
			t.Errorf("%q: got %v", id, err)
		}
	}
}
