package main

// The file system: its pools and its metadata servers.

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// makeFileSystem creates pools and file system. Few placement groups: they cost memory and peering time on two cores.
func makeFileSystem(ctx context.Context, l Layout) error {
	for _, command := range []string{
		"osd erasure-code-profile set " + ecProfile + " k=4 m=2 crush-failure-domain=osd",
		"osd pool create " + poolMeta + " 8 8 replicated",
		"osd pool create " + poolData + " 8 8 replicated",
		"osd pool create " + poolEC + " 16 16 erasure " + ecProfile,
		"osd pool set " + poolEC + " allow_ec_overwrites true",
		"fs new " + fsName + " " + poolMeta + " " + poolData,
		"fs add_data_pool " + fsName + " " + poolEC,
	} {
		if _, err := ceph(ctx, l, strings.Fields(command)...); err != nil {
			return err
		}
	}
	return nil
}

// mdsRanks returns the name of the active MDS ("" when there is none) and the number of standbys.
func mdsRanks(ctx context.Context, l Layout) (active string, standbys int, err error) {
	var dump struct {
		Standbys    []struct{ Name string } `json:"standbys"`
		Filesystems []struct {
			MDSMap struct {
				Name string `json:"fs_name"`
				Info map[string]struct {
					Name  string `json:"name"`
					State string `json:"state"`
				} `json:"info"`
			} `json:"mdsmap"`
		} `json:"filesystems"`
	}
	if err := cephJSON(ctx, l, &dump, "fs", "dump"); err != nil {
		return "", 0, err
	}
	for _, f := range dump.Filesystems {
		for _, i := range f.MDSMap.Info {
			if f.MDSMap.Name == fsName && i.State == "up:active" {
				active = i.Name
			}
		}
	}
	return active, len(dump.Standbys), nil
}

// waitMDS waits for one active metadata server and one standby.
func waitMDS(ctx context.Context, l Layout) error {
	return poll(ctx, 500*time.Millisecond, func() (bool, string, error) {
		active, standbys, err := mdsRanks(ctx, l)
		if err != nil {
			return false, err.Error(), nil
		}
		return active != "" && standbys > 0, fmt.Sprintf("an active MDS (now %q) and a standby (now %d)", active, standbys), nil
	})
}
