package probe

import (
	"path/filepath"
	"testing"

	"github.com/strata-csi/strata/pkg/journal"
	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/tier/tiertest"
)

// The node's side on a disk of the loop kind, with real devices and file systems.
func TestTheLoopKindConforms(t *testing.T) {
	p, findings := pools(t, nil, config.Pool{Name: "p", Kinds: []disk.Kind{disk.Loop}, Disks: []config.Place{{Path: fileSystem(t, "mkfs.ext4", 512)}}})
	if len(p.Usable) != 1 {
		t.Fatal(verdicts(findings))
	}
	dir := t.TempDir()
	j, err := journal.Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if keys, err := j.Keys(); err != nil || len(keys) > 0 {
			t.Errorf("records are left: %v, %v", keys, err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	b, err := scratch.New(scratch.Options{
		Config:  config.Config{Classes: []config.Class{{Name: "default", Pool: "p", Wipe: disk.WipeZero}}},
		Pools:   []scratch.Pool{p},
		Journal: j, MountDir: filepath.Join(dir, "mnt"), Locks: new(keylock.Locks), Unmounter: mountpoint.NewUnmounter(mountpoint.NewProber(0)),
	})
	if err != nil {
		t.Fatal(err)
	}
	context := map[string]string{"tier": "scratch", scratch.ContextClass: "default", scratch.ContextSize: "67108864"}
	t.Run("block", func(t *testing.T) {
		tiertest.ConformBlock(t, tiertest.BlockSubject{Stager: b, Volume: "scratch:default:block", Context: context})
	})
	t.Run("files", func(t *testing.T) {
		tiertest.Conform(t, tiertest.Subject{Stager: b, Volume: "scratch:default:a", Other: "scratch:default:b", Context: context, OtherContext: context,
			BadContext: map[string]string{"tier": "scratch", scratch.ContextClass: "none", scratch.ContextSize: "1"}})
	})
	t.Run("inline", func(t *testing.T) {
		tiertest.ConformInline(t, tiertest.InlineSubject{Publisher: b, BadAttributes: map[string]string{"path": "/"},
			Volume: tier.InlineSpec{Attributes: map[string]string{"size": "64Mi"}, Pod: tier.Pod{Name: "p", Namespace: "n", UID: "u"}}})
	})
	if names, err := p.Usable[0].List(t.Context()); err != nil || len(names) > 0 {
		t.Errorf("volumes are left: %v, %v", names, err)
	}
}
