package main

// ceph.conf and the keyrings. All identities are made here and handed to the monitor when its
// store is created, which saves a command for each of them.

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

const (
	fsName       = "warm"
	poolMeta     = "warm-meta"
	poolData     = "warm-data"
	poolEC       = "warm-ec"
	ecProfile    = "warm-ec-4-2"
	osdFileBytes = 8 << 30 // sparse; eight of them fit on a small disk even when full
)

// renderConf returns ceph.conf. stsKey is the gateway's, see newSTSKey.
func renderConf(l Layout, fsid, stsKey string) string {
	return fmt.Sprintf(`# Written by hack/ceph. A development cluster: 127.0.0.1 only, tuned for two cores and quick failure detection.
[global]
fsid = %[1]s
mon host = %[2]s
run dir = %[3]s/run
crash dir = %[3]s/crash
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind port min = %[4]d
ms bind port max = %[5]d
auth allow insecure global id reclaim = false
# One host carries all OSDs: copies are spread over OSDs, not over hosts.
osd crush chooseleaf type = 0
osd pool default size = 3
osd pool default min size = 2
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
rgw rados pool pg num min = 4
# Detection of failures; monitor and daemons must agree. The monitor judges beacons once a tick, and with the default
# tick of 5 s it forgives any grace below 9 s. A killed OSD is reported at once (its port refuses
# connections); its grace is for a stopped or hung one.
mon tick interval = 1
mds beacon interval = 1
mds beacon grace = 6
osd heartbeat interval = 2
osd heartbeat grace = 10
debug rocksdb = 1/1
debug bluestore = 1/1
debug bdev = 1/1
debug bluefs = 1/1
debug osd = 1/1

[mon]
mon data = %[3]s/data/$name
admin socket = %[3]s/run/$name.asok
log file = %[3]s/log/$name.log
mon cluster log file = %[3]s/log/cluster.log
mon allow pool delete = true
mon data avail warn = 2
mon data avail crit = 1
mon max pg per osd = 500
mon pg warn min per osd = 0
mon osd down out interval = 10
mon osd min down reporters = 1
# No patience with an OSD that failed lately: detection takes the same time at every try.
mon osd adjust heartbeat grace = false
mon osd adjust down out interval = false

[mgr]
mgr data = %[3]s/data/$name
keyring = %[3]s/data/$name/keyring
admin socket = %[3]s/run/$name.asok
log file = %[3]s/log/$name.log
# Debian's packages install the modules here and compile in another directory.
mgr module path = /usr/share/ceph/mgr
mgr initial modules = status
mgr stats period = 2

[osd]
osd data = %[3]s/data/$name
keyring = %[3]s/data/$name/keyring
admin socket = %[3]s/run/$name.asok
log file = %[3]s/log/$name.log
crush location = root=default host=strata
osd objectstore = bluestore
bluestore block size = %[6]d
# Each OSD reserves twice this of fs.aio-max-nr (65536 for the whole machine); the default of 1024 allows four clusters.
bdev aio max queue depth = 256
bluestore cache autotune = false
bluestore cache size = 134217728
osd memory target = 939524096
osd class load list = *
osd class default list = *
# An OSD that was wrongly called dead this often in ten minutes ends itself; tests that stop and continue it would reach the default of 5.
osd max markdown count = 100
osd recovery sleep = 0
osd recovery sleep hdd = 0
osd recovery sleep hybrid = 0

[mds]
mds data = %[3]s/data/$name
keyring = %[3]s/data/$name/keyring
admin socket = %[3]s/run/$name.asok
log file = %[3]s/log/$name.log
mds cache memory limit = 268435456

[client]
keyring = %[3]s/ceph.$name.keyring
log file = %[3]s/log/clients.log

[client.rgw]
rgw data = %[3]s/data/rgw
admin socket = %[3]s/run/$name.asok
log file = %[3]s/log/$name.log
rgw frontends = beast endpoint=127.0.0.1:%[7]d
rgw enable usage log = false
rgw thread pool size = 64
# Roles can be assumed (AssumeRole). The key encrypts what is in a session's token. Sessions may be short, for tests that wait for their end.
rgw s3 auth use sts = true
rgw sts key = %[8]s
rgw sts min session duration = 1
`, fsid, l.monAddrs(), l.Dir, l.PortBase+100, l.PortBase+199, osdFileBytes, l.rgwPort(), stsKey)
}

// Identity is a cephx user.
type Identity struct {
	Name string
	Key  string
	Caps []string // pairs: daemon kind, capability
}

// identities makes every user the cluster starts with.
func identities(now time.Time) ([]Identity, error) {
	all := []string{"mon", "allow *", "mgr", "allow *", "osd", "allow *", "mds", "allow *"}
	ids := []Identity{
		{Name: "mon.", Caps: []string{"mon", "allow *"}},
		{Name: "client.admin", Caps: all},
		{Name: "client.strata-controller", Caps: all},
		{Name: "client.strata-node", Caps: []string{"mon", "allow r", "mds", "allow rw path=/volumes", "osd", "allow rw tag cephfs data=" + fsName}},
		{Name: gateway.Entity(), Caps: []string{"mon", "allow rwx", "osd", "allow rwx", "mgr", "allow rw"}},
	}
	profile := map[string][]string{
		"mgr": {"mon", "allow profile mgr", "osd", "allow *", "mds", "allow *"},
		"osd": {"mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"},
		"mds": {"mon", "allow profile mds", "mgr", "allow profile mds", "osd", "allow rwx", "mds", "allow *"},
	}
	for _, d := range allDaemons() {
		if caps, ok := profile[d.Kind]; ok {
			ids = append(ids, Identity{Name: d.Entity(), Caps: caps})
		}
	}
	for i := range ids {
		key, err := newKey(now)
		if err != nil {
			return nil, err
		}
		ids[i].Key = key
	}
	return ids, nil
}

// newKey makes a cephx secret as ceph-authtool --gen-key does: CryptoKey::encode of Ceph, base64: type 1
// (AES), time of creation (seconds, nanoseconds), length 16, secret, all little-endian.
func newKey(now time.Time) (string, error) {
	var secret [16]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return "", err
	}
	b := binary.LittleEndian.AppendUint16(nil, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(now.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(now.Nanosecond()))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(secret)))
	return base64.StdEncoding.EncodeToString(append(b, secret[:]...)), nil
}

// newSTSKey makes the key of the gateway's sessions: 16 characters, since it is AES-128 (doc/radosgw/STS.rst).
func newSTSKey() string { return strings.ToLower(rand.Text()[:16]) }

// renderKeyring returns a keyring file. Capabilities matter only to the monitor that imports them.
func renderKeyring(ids ...Identity) string {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, "[%s]\n\tkey = %s\n", id.Name, id.Key)
		for i := 0; i+1 < len(id.Caps); i += 2 {
			fmt.Fprintf(&b, "\tcaps %s = \"%s\"\n", id.Caps[i], id.Caps[i+1])
		}
	}
	return b.String()
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() (string, error) {
	var u [16]byte
	if _, err := rand.Read(u[:]); err != nil {
		return "", err
	}
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16]), nil
}
