package clusters

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-csi/strata/pkg/yamlfile"
)

// aKey has the form of a cephx key and opens nothing.
var aKey = base64.StdEncoding.EncodeToString(append([]byte{1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 0}, "sixteen bytes..."...))

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// load writes the text with KEY replaced by the path of a key file, and loads it.
func load(t *testing.T, text string, controller bool) ([]Cluster, string, error) {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	write(t, key, aKey+"\n")
	path := filepath.Join(dir, "clusters.yaml")
	write(t, path, strings.ReplaceAll(text, "KEY", key))
	list, err := Load(Options{Path: path, Controller: controller})
	return list, key, err
}

const good = `
clusters:
- clusterID: main
  monitors: ["127.0.0.1:40000", "[fd00::1]:3300", "mon-c.example.com:3300"]
  namePrefix: dev
  controller: {user: strata-controller, keyFile: KEY}
  fencing: {user: strata-fencing, keyFile: KEY}
  defaults: {fsName: warm, pool: warm-ec, mode: "0755"}
  lockPool: warm-data
`

func TestLoadReadsEveryField(t *testing.T) {
	got, key, err := load(t, good, true)
	if err != nil {
		t.Fatal(err)
	}
	want := []Cluster{{
		ID:         "main",
		Monitors:   []string{"127.0.0.1:40000", "[fd00::1]:3300", "mon-c.example.com:3300"},
		NamePrefix: "dev",
		Credential: &Credential{User: "strata-controller", KeyFile: key},
		Fencing:    &Credential{User: "strata-fencing", KeyFile: key},
		Defaults:   map[string]string{"fsName": "warm", "pool": "warm-ec", "mode": "0755"},
		LockPool:   "warm-data",
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	k, err := got[0].Credential.Key()
	if err != nil || k != aKey {
		t.Errorf("Key = %v, %v", k == aKey, err)
	}
}

func TestANodesFileNeedsNoCredentialAndNoPrefix(t *testing.T) {
	got, _, err := load(t, "clusters: [{clusterID: main, monitors: ['127.0.0.1:3300']}]", false)
	if err != nil || len(got) != 1 || got[0].Credential != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	replaced := func(old, new string) string {
		if !strings.Contains(good, old) {
			panic(old + " is not in the good file")
		}
		return strings.ReplaceAll(good, old, new)
	}
	second := func(s string) string { return good + s }
	for _, c := range []struct {
		name string
		text string
		want []string // each in the error
	}{
		{"empty file", "", []string{"clusters: at least one is needed"}},
		{"no cluster", "clusters: []", []string{"clusters: at least one is needed"}},
		{"not YAML", "clusters: [", []string{"not valid YAML", "line 1"}},
		{"key twice", replaced("namePrefix: dev", "namePrefix: dev\n  namePrefix: prod"), []string{"line 6", "namePrefix", "already set"}},
		{"a list in place of the whole", "- a", []string{"the file: must be a map", "a list"}},
		{"unknown key at the top", "cluster: []", []string{`unknown key "cluster", did you mean "clusters"?`}},
		{"unknown key of a cluster", replaced("lockPool", "poolIndex"), []string{`clusters[0]: unknown key "poolIndex"`, "known: clusterID, monitors"}},
		{"key in the wrong case", replaced("clusterID", "clusterId"), []string{`unknown key "clusterId", did you mean "clusterID"?`}},
		{"unknown key of the controller", replaced("keyFile", "keyfile"), []string{`clusters[0].controller: unknown key "keyfile", did you mean "keyFile"?`}},
		{"number for text", replaced(`"0755"`, "0755"), []string{"clusters[0].defaults.mode: must be text, not a number", "quotes"}},
		{"map for text", replaced("clusterID: main", "clusterID: {a: b}"), []string{"clusters[0].clusterID: must be text, not a map"}},
		{"text for a list", replaced(`["127.0.0.1:40000", "[fd00::1]:3300", "mon-c.example.com:3300"]`, `"127.0.0.1:40000"`), []string{"clusters[0].monitors: must be a list, not text"}},
		{"id missing", replaced("clusterID: main", "clusterID:"), []string{"clusters[0].clusterID: is missing"}},
		{"id with a colon", replaced("clusterID: main", "clusterID: 'a:b'"), []string{`clusters[0].clusterID: "a:b" must be of [A-Za-z0-9._-]`}},
		{"id too long", replaced("clusterID: main", "clusterID: "+strings.Repeat("a", 37)), []string{"37 bytes", "at most 36"}},
		{"id twice", second("- {clusterID: main, namePrefix: b, monitors: ['h:3300'], controller: {user: c, keyFile: KEY}}"),
			[]string{`clusters[1].clusterID: "main" is the id of clusters[0] already`}},
		{"no monitors", replaced(`["127.0.0.1:40000", "[fd00::1]:3300", "mon-c.example.com:3300"]`, "[]"), []string{"clusters[0].monitors: at least one"}},
		{"monitor without a port", replaced("127.0.0.1:40000", "127.0.0.1"), []string{`clusters[0].monitors[0]: "127.0.0.1" has no port`}},
		{"monitor with port 0", replaced("127.0.0.1:40000", "127.0.0.1:0"), []string{"from 1 to 65535"}},
		{"monitor with a port that is too high", replaced("127.0.0.1:40000", "127.0.0.1:65536"), []string{"from 1 to 65535"}},
		{"monitor of the old protocol", replaced("127.0.0.1:40000", "127.0.0.1:6789"), []string{"old protocol", "10.0.0.1:3300"}},
		{"monitor with a scheme", replaced("127.0.0.1:40000", "v2:127.0.0.1:40000"), []string{"more than an address"}},
		{"monitor with a bad host", replaced("127.0.0.1:40000", "a b:40000"), []string{"neither a name nor an address"}},
		{"monitor twice", replaced("[fd00::1]:3300", "127.0.0.1:40000"), []string{`clusters[0].monitors[1]: "127.0.0.1:40000" is monitors[0] already`}},
		{"no prefix", replaced("namePrefix: dev", ""), []string{"clusters[0].namePrefix: is missing"}},
		{"prefix with capitals", replaced("namePrefix: dev", "namePrefix: Dev"), []string{`"Dev" must be lower-case`}},
		{"prefix with a dash at the end", replaced("namePrefix: dev", "namePrefix: dev-"), []string{`"dev-" must be`}},
		{"prefix too long", replaced("namePrefix: dev", "namePrefix: "+strings.Repeat("d", 17)), []string{"17 bytes", "at most 16"}},
		{"no credential", replaced("controller: {user: strata-controller, keyFile: KEY}", ""), []string{"clusters[0].controller: is missing"}},
		{"no user", replaced("user: strata-controller, ", ""), []string{"clusters[0].controller.user: is missing"}},
		{"user with client.", replaced("user: strata", "user: client.strata"), []string{`must stand without "client.": "strata-controller"`}},
		{"no key", replaced(", keyFile: KEY", ""), []string{"one of keyFile and keyringFile is needed"}},
		{"two keys", replaced("keyFile: KEY", "keyFile: KEY, keyringFile: KEY"), []string{"only one of"}},
		{"no user for fencing", replaced("fencing: {user: strata-fencing, ", "fencing: {"), []string{"clusters[0].fencing.user: is missing"}},
		{"key of fencing that isn't there", replaced("fencing: {user: strata-fencing, keyFile: KEY}", "fencing: {user: f, keyFile: /nowhere/key}"), []string{"clusters[0].fencing:", "client.f", "no such file"}},
		{"unknown key of fencing", replaced("fencing: {user: strata-fencing, keyFile: KEY}", "fencing: {user: f, keyfile: KEY}"), []string{`clusters[0].fencing: unknown key "keyfile"`}},
		{"relative path", replaced("keyFile: KEY", "keyFile: key"), []string{`"key" must be absolute`}},
		{"key file that isn't there", replaced("keyFile: KEY", "keyFile: /nowhere/key"), []string{"client.strata-controller", "no such file"}},
		{"several mistakes", replaced("namePrefix: dev", "namePrefix: Dev") + "- {clusterID: other}",
			[]string{"mistakes:", "clusters[0].namePrefix", "clusters[1].monitors", "clusters[1].controller"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, c.text, true)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range append(c.want, "clusters.yaml") {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in the error:\n%v", w, err)
				}
			}
		})
	}
}

func TestANodesFileMustNotHoldACredential(t *testing.T) {
	_, _, err := load(t, good, false)
	for _, field := range []string{"controller", "fencing"} {
		if err == nil || !strings.Contains(err.Error(), "clusters[0]."+field+": must not stand in a node's file") {
			t.Errorf("got %v", err)
		}
	}
}

func TestLoadAsksTheHook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clusters.yaml")
	write(t, path, "clusters: [{clusterID: main, monitors: ['h:3300'], defaults: {fsname: warm}}]")
	_, err := Load(Options{Path: path, Validate: func(c Cluster) error {
		if _, ok := c.Defaults["fsname"]; ok {
			return errors.New(`defaults: unknown parameter "fsname"`)
		}
		return nil
	}})
	if err == nil || !strings.Contains(err.Error(), `clusters[0]: defaults: unknown parameter "fsname"`) {
		t.Errorf("got %v", err)
	}
}

func TestLoadRefusesAHugeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clusters.yaml")
	write(t, path, strings.Repeat("#", yamlfile.MaxSize+1))
	if _, err := Load(Options{Path: path}); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("got %v", err)
	}
}
