package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/tests/harness"
)

// TestConfigurationIsReadAgain: a changed cluster configuration comes into force without a restart, a wrong one does not.
func TestConfigurationIsReadAgain(t *testing.T) {
	ceph := harness.NewCeph(t)
	// The same user before and after: with another one a new connection takes the old one's place, under the calls that run.
	prefix := harness.NewPrefix(t)
	user := ceph.ControllerUser(t, prefix)
	c := harness.NewController(t, ceph, harness.ControllerOptions{
		Prefix: prefix, User: user, Defaults: map[string]string{"fsName": harness.FS, "pool": harness.ECPool},
	})
	root := ceph.RootMount(t)
	credential := fmt.Sprintf("controller: {user: %s, keyringFile: %s}", user, ceph.Keyring(user))
	made := 0
	// poolOfNew is where a class that names no pool puts a volume.
	poolOfNew := func() string {
		t.Helper()
		made++
		req := harness.Request(fmt.Sprint("pvc-", made), 8*mib)
		req.Parameters = map[string]string{"tier": "warm"}
		v := create(t, c, req)
		defer remove(t, c, v)
		return harness.Xattr(t, dataPath(root, v), "ceph.dir.layout.pool")
	}
	probe := func() error {
		_, err := c.Identity.Probe(call(t), &csi.ProbeRequest{})
		return err
	}
	if got := poolOfNew(); got != harness.ECPool {
		t.Errorf("the default pool is %s", got)
	}

	// A mistake: what was in force stays so, and Probe tells.
	c.WriteConfig(credential, "default: {pool: warm-data}")
	harness.Eventually(t, "the mistake is told", harness.Patience, func() error {
		err := probe()
		if err == nil || !strings.Contains(err.Error(), "default") {
			return fmt.Errorf("probe: %w", errors.Join(err, errors.New("no word of it")))
		}
		return nil
	})
	if got := poolOfNew(); got != harness.ECPool {
		t.Errorf("with a wrong file the default pool is %s", got)
	}
	c.WriteConfig(credential, `defaults: {pool: "no such pool!"}`) // twice the key
	if got := poolOfNew(); got != harness.ECPool {
		t.Errorf("with a wrong file the default pool is %s", got)
	}

	c.SetDefaults(map[string]string{"fsName": harness.FS, "pool": harness.DataPool})
	c.WriteConfig(credential)
	harness.Eventually(t, "the new default is in force", harness.Patience, func() error {
		if got := poolOfNew(); got != harness.DataPool {
			return fmt.Errorf("the default pool is %s", got)
		}
		return nil
	})
	if err := probe(); err != nil {
		t.Errorf("after the correction: %v", err)
	}
	wantNothingLeft(t, ceph, root, c.Prefix)
}
