// Package failure keeps the promise of the warm tier: it kills daemons of the running Ceph under writers on two nodes. What it kills
// it starts again, and waits until the cluster is whole.
package failure

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/tests/harness"
)

const mib = 1 << 20

// recovery bounds how long a test waits for Ceph to go on and to heal. It is generous: how fast that is depends on the machine, and
// no test asserts it.
const recovery = 4 * time.Minute

// load is a volume with writers on two nodes that check every byte.
type load struct {
	t       *testing.T
	ceph    *harness.Ceph
	volume  *csi.Volume
	nodes   []*harness.Node
	written []*atomic.Int64 // files made durable, by writer
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu   sync.Mutex
	sums map[string]string // SHA-256 by file name
	errs []error
}

// newLoad mounts a volume on two nodes and starts two writers on each.
func newLoad(t *testing.T) *load {
	ceph := harness.NewCeph(t)
	controller := harness.NewController(t, ceph, harness.ControllerOptions{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	made, err := controller.CreateVolume(ctx, harness.Request("under-fire", 2<<30))
	if err != nil {
		t.Fatal(err)
	}
	l := &load{t: t, ceph: ceph, volume: made.GetVolume(), sums: map[string]string{}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: l.volume.GetVolumeId()}); err != nil {
			t.Error(err)
		}
	})
	running, stop := context.WithCancel(context.Background())
	l.stop = stop
	for _, id := range []string{"node-a", "node-b"} {
		n := harness.NewNode(t, ceph, id)
		l.nodes = append(l.nodes, n)
		dir := n.Mount(l.volume, "data", harness.RWX)
		for w := range 2 {
			count := &atomic.Int64{}
			l.written = append(l.written, count)
			l.done.Go(func() { l.write(running, dir, fmt.Sprintf("%s-%d", id, w), count) })
		}
	}
	t.Cleanup(l.finish)
	return l
}

// write makes files durable one after the other until it is stopped. An error of any call is kept and ends it.
func (l *load) write(ctx context.Context, dir, name string, count *atomic.Int64) {
	data := make([]byte, 2*mib)
	for i := 0; ctx.Err() == nil; i++ {
		rand.Read(data)
		file := fmt.Sprintf("%s-%04d", name, i%100) // the volume has room for a hundred of each
		err := durable(filepath.Join(dir, file), data)
		l.mu.Lock()
		if err != nil {
			l.errs = append(l.errs, err)
			l.mu.Unlock()
			return
		}
		sum := sha256.Sum256(data)
		l.sums[file] = hex.EncodeToString(sum[:])
		l.mu.Unlock()
		count.Add(1)
	}
}

func durable(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// more waits until every writer has made n more files durable.
func (l *load) more(what string, n int64) {
	l.t.Helper()
	var before []int64
	for _, w := range l.written {
		before = append(before, w.Load())
	}
	harness.Eventually(l.t, what, recovery, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.errs) > 0 {
			l.t.Fatalf("%s: a writer got an error: %v", what, l.errs)
		}
		for i, w := range l.written {
			if now := w.Load(); now < before[i]+n {
				return fmt.Errorf("writer %d has made %d files, %d at the beginning", i, now, before[i])
			}
		}
		return nil
	})
}

// finish ends the writers and reports their errors.
func (l *load) finish() {
	l.stop()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, err := range l.errs {
		l.t.Errorf("writer: %v", err)
	}
}

// check reads every file through a mount that has none of it in a cache.
func (l *load) check() {
	l.t.Helper()
	l.finish()
	fresh := harness.NewNode(l.t, l.ceph, "node-fresh")
	dir := fresh.Mount(l.volume, "data", harness.RWX)
	for file, want := range l.sums {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			l.t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != want {
			l.t.Errorf("%s is not what was written", file)
		}
	}
	fresh.Unmount(l.volume, "data")
	for _, n := range l.nodes {
		n.Unmount(l.volume, "data")
	}
	l.t.Logf("%d files of %d MiB were right", len(l.sums), 2)
}

// whole waits until the cluster has healed.
func whole(t *testing.T, ceph *harness.Ceph) {
	t.Helper()
	harness.Eventually(t, "the cluster heals", recovery, func() error {
		var st struct {
			PGMap struct {
				States []struct {
					Name string `json:"state_name"`
				} `json:"pgs_by_state"`
			} `json:"pgmap"`
			OSDMap struct {
				Up  int `json:"num_up_osds"`
				In  int `json:"num_in_osds"`
				All int `json:"num_osds"`
			} `json:"osdmap"`
			FSMap struct {
				Standby int `json:"up:standby"`
				Ranks   []struct {
					Status string `json:"status"`
				} `json:"by_rank"`
			} `json:"fsmap"`
		}
		ceph.JSON(t, &st, "status")
		if o := st.OSDMap; o.Up != o.All || o.In != o.All {
			return fmt.Errorf("%d of %d OSDs are up, %d in", o.Up, o.All, o.In)
		}
		for _, s := range st.PGMap.States {
			if s.Name != "active+clean" && s.Name != "active+clean+scrubbing" && s.Name != "active+clean+scrubbing+deep" {
				return fmt.Errorf("some placement groups are %s", s.Name)
			}
		}
		if st.FSMap.Standby < 1 || len(st.FSMap.Ranks) != 1 || st.FSMap.Ranks[0].Status != "up:active" {
			return fmt.Errorf("MDS: %+v", st.FSMap)
		}
		return nil
	})
}

func TestTwoOfEightOSDsLostUnderWriters(t *testing.T) {
	ceph := harness.NewCeph(t)
	whole(t, ceph)
	l := newLoad(t)
	l.more("the writers begin", 2)
	for _, osd := range []string{"osd.1", "osd.5"} {
		ceph.Daemon(t, "kill", osd)
		t.Cleanup(func() { ceph.Daemon(t, "start", osd) })
	}
	t.Log("osd.1 and osd.5 are killed")
	l.more("the writers go on by themselves", 5)
	l.check()
	for _, osd := range []string{"osd.1", "osd.5"} {
		ceph.Daemon(t, "start", osd)
	}
	whole(t, ceph)
}

func TestActiveMDSLostUnderWriters(t *testing.T) {
	ceph := harness.NewCeph(t)
	whole(t, ceph)
	l := newLoad(t)
	l.more("the writers begin", 2)
	active := activeMDS(t, ceph)
	ceph.Daemon(t, "kill", active)
	t.Cleanup(func() { ceph.Daemon(t, "start", active) })
	t.Logf("%s is killed", active)
	harness.Eventually(t, "the standby takes over", recovery, func() error {
		if now := activeMDS(t, ceph); now == "" || now == active {
			return fmt.Errorf("active is %q", now)
		}
		return nil
	})
	l.more("the writers go on by themselves", 5)
	l.check()
	ceph.Daemon(t, "start", active)
	whole(t, ceph)
}

// activeMDS is the daemon of rank 0, as hack/ceph names it; "" while there is none.
func activeMDS(t *testing.T, ceph *harness.Ceph) string {
	t.Helper()
	var dump struct {
		Filesystems []struct {
			Map struct {
				Info map[string]struct{ Name, State string } `json:"info"`
			} `json:"mdsmap"`
		} `json:"filesystems"`
	}
	ceph.JSON(t, &dump, "fs", "dump")
	for _, m := range dump.Filesystems[0].Map.Info {
		if m.State == "up:active" {
			return "mds." + m.Name
		}
	}
	return ""
}
