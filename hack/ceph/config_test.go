package main

import (
	"encoding/base64"
	"encoding/binary"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestConfKeepsEverythingInTheDirectory(t *testing.T) {
	l := testLayout(t)
	conf := renderConf(l, "00000000-0000-4000-8000-000000000000", newSTSKey())
	for line := range strings.Lines(conf) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		if strings.HasPrefix(value, "/") && !strings.HasPrefix(value, l.Dir+"/") && key != "mgr module path" {
			t.Errorf("%s is outside of the cluster's directory", line)
		}
		if strings.Contains(value, "%!") || value == "" {
			t.Errorf("badly rendered: %s", line)
		}
	}
	// Whatever a daemon would otherwise write into /var must be named, in its section.
	for section, keys := range map[string][]string{
		"global": {"run dir", "crash dir"},
		"mon":    {"mon data", "log file", "admin socket", "mon cluster log file"},
		"mgr":    {"mgr data", "log file", "admin socket", "keyring"},
		"osd":    {"osd data", "log file", "admin socket", "keyring"},
		"mds":    {"mds data", "log file", "admin socket", "keyring"},
		"client": {"log file", "keyring"},
	} {
		_, body, ok := strings.Cut(conf, "["+section+"]\n")
		if !ok {
			t.Errorf("no section %s", section)
		}
		body, _, _ = strings.Cut(body, "\n[")
		for _, key := range keys {
			if !regexp.MustCompile(`(?m)^` + key + ` = ` + regexp.QuoteMeta(l.Dir) + `/`).MatchString(body) {
				t.Errorf("section %s: %s isn't set to a path in the directory", section, key)
			}
		}
	}
}

func TestConfKeepsPortsInTheRange(t *testing.T) {
	l := testLayout(t)
	conf := renderConf(l, "00000000-0000-4000-8000-000000000000", newSTSKey())
	for _, want := range []string{
		"mon host = [v2:127.0.0.1:23000,v1:127.0.0.1:23001]\n",
		"ms bind port min = 23100\n", "ms bind port max = 23199\n",
		"rgw frontends = beast endpoint=127.0.0.1:23010\n",
		"public addr = 127.0.0.1\n", "cluster addr = 127.0.0.1\n",
	} {
		if !strings.Contains(conf, want) {
			t.Errorf("no %q in ceph.conf", want)
		}
	}
}

func TestNewKeyHasTheFormOfCephsOwn(t *testing.T) {
	now := time.Unix(1795403010, 5)
	key, err := newKey(now)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]string{
		"ours":                                key,
		"made by ceph-authtool, used nowhere": "AQACrQNrBVltOhAAqXuAJOuP40c/wEY9MI7K9A==",
	} {
		b, err := base64.StdEncoding.DecodeString(k)
		if err != nil || len(b) != 12+16 {
			t.Fatalf("%s: %d bytes, %v", name, len(b), err)
		}
		if got := binary.LittleEndian.Uint16(b); got != 1 {
			t.Errorf("%s: type %d, want 1", name, got)
		}
		if got := binary.LittleEndian.Uint32(b[2:]); int64(got) != now.Unix() {
			t.Errorf("%s: created at %d, want %d", name, got, now.Unix())
		}
		if got := binary.LittleEndian.Uint16(b[10:]); got != 16 {
			t.Errorf("%s: length %d, want 16", name, got)
		}
	}
	again, err := newKey(now)
	if err != nil {
		t.Fatal(err)
	}
	if again == key {
		t.Error("two keys are equal")
	}
}

func TestRenderKeyring(t *testing.T) {
	got := renderKeyring(Identity{Name: "client.a", Key: "K1", Caps: []string{"mon", "allow r", "osd", "allow rw tag cephfs data=warm"}}, Identity{Name: "osd.0", Key: "K2"})
	want := "[client.a]\n\tkey = K1\n\tcaps mon = \"allow r\"\n\tcaps osd = \"allow rw tag cephfs data=warm\"\n[osd.0]\n\tkey = K2\n"
	if got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestEveryDaemonAndClientHasAKeyOnlyItsOwnerReads(t *testing.T) {
	l := testLayout(t)
	ids, err := identities(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFiles(l, "00000000-0000-4000-8000-000000000000", ids); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, c := range []string{"client.admin", "client.strata-controller", "client.strata-node", "client.rgw"} {
		paths = append(paths, l.Keyring(c))
	}
	for _, d := range allDaemons() {
		if d.Kind == "mgr" || d.Kind == "osd" || d.Kind == "mds" {
			paths = append(paths, l.DaemonKeyring(d))
		}
	}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			t.Error(err)
		} else if info.Mode() != 0o600 {
			t.Errorf("%s has mode %s", p, info.Mode())
		}
	}
}

func TestNewUUID(t *testing.T) {
	u, err := newUUID()
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(u) {
		t.Errorf("%s isn't a random UUID", u)
	}
}
