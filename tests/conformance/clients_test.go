package conformance

// Clients that the cluster shuts out, that may not connect, and that leave.

import (
	"encoding/json"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/librados"
)

func TestEvictedClientMountsAgain(t *testing.T) {
	c := dial(t)
	tree := c.Tree(fsName)
	if _, err := tree.ReadDir(within(t, patience), "/"); err != nil {
		t.Fatal(err)
	}
	var status struct {
		Filesystems []struct {
			Map struct {
				Info map[string]struct{ Name, State string }
			} `json:"mdsmap"`
		}
	}
	raw, err := c.Mon(within(t, patience), map[string]any{"prefix": "fs dump"})
	if err == nil {
		err = json.Unmarshal(raw, &status)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range status.Filesystems[0].Map.Info {
		if d.State != "up:active" {
			continue
		}
		var sessions []struct {
			ID       int64
			Metadata struct {
				Entity string `json:"entity_id"`
				PID    string `json:"pid"`
			} `json:"client_metadata"`
		}
		if err := json.Unmarshal(admin(t, "tell", "mds."+d.Name, "client", "ls", "--format", "json"), &sessions); err != nil {
			t.Fatal(err)
		}
		evicted := 0
		for _, s := range sessions {
			if s.Metadata.Entity == user {
				admin(t, "tell", "mds."+d.Name, "client", "evict", "id="+itoa(s.ID))
				evicted++
			}
		}
		if evicted == 0 {
			t.Fatal("no session to evict")
		}
	}
	start := time.Now()
	if err := tree.SetXattr(within(t, patience), "/", "user.conformance", "x"); err != nil {
		t.Errorf("after the eviction: %v", err)
	}
	t.Logf("mounted again in %s", time.Since(start).Round(time.Millisecond))
	if err := tree.RemoveXattr(within(t, patience), "/", "user.conformance"); err != nil {
		t.Errorf("after the eviction: %v", err)
	}
}

func itoa(i int64) string {
	raw, _ := json.Marshal(i)
	return string(raw)
}

func TestBlocklistedClientConnectsAgain(t *testing.T) {
	before := addresses(t)
	c := dial(t)
	o := c.Objects(poolRep, "strata-conformance")
	if err := o.Lock(within(t, patience), "blocklist", "l", "c", time.Second); err != nil {
		t.Fatal(err)
	}
	blocked := 0
	for a := range addresses(t) {
		if !before[a] {
			admin(t, "osd", "blocklist", "add", a, "60")
			blocked++
		}
	}
	if blocked == 0 {
		t.Fatal("no address of ours found")
	}
	time.Sleep(1200 * time.Millisecond) // the lease of the client that is shut out
	if err := o.Lock(within(t, patience), "blocklist", "l", "c", time.Second); err != nil {
		t.Errorf("after being blocklisted: %v", err)
	}
	if _, err := c.Mon(within(t, patience), map[string]any{"prefix": "df"}); err != nil {
		t.Errorf("monitors: %v", err)
	}
}

// addresses are those of the monitor's sessions with our user.
func addresses(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	var sessions []struct {
		Name  string `json:"entity_name"`
		Addrs struct {
			List []struct {
				Addr  string `json:"addr"`
				Nonce int64  `json:"nonce"`
			} `json:"addrvec"`
		} `json:"addrs"`
	}
	raw := admin(t, "tell", "mon.a", "sessions", "--format", "json")
	if err := json.Unmarshal(raw, &sessions); err != nil {
		t.Fatalf("sessions: %v", err)
	}
	for _, s := range sessions {
		if s.Name != "client."+user {
			continue
		}
		for _, a := range s.Addrs.List {
			found[a.Addr+"/"+itoa(a.Nonce)] = true
		}
	}
	return found
}

// errAny stands for an error of ours.
var errAny = errors.New("any error")

func TestDialFails(t *testing.T) {
	// A port that is taken by something that never answers.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	good := options(t)
	for _, tc := range []struct {
		name   string
		change func(*librados.Options)
		want   error
	}{
		{"no monitor answers", func(o *librados.Options) { o.Monitors = []string{silent.Addr().String()} }, ceph.ErrHung},
		{"wrong key", func(o *librados.Options) { o.Key = "AQABAAAAAAAAABAAbm90IGEgcmVhbCBrZXkhIQ==" }, nil},
		{"not a key", func(o *librados.Options) { o.Key = "secret" }, errAny},
		{"unknown user", func(o *librados.Options) { o.User = "conformance-nobody" }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := good
			tc.change(&o)
			start := time.Now()
			c, err := librados.Dial(within(t, 5*time.Second), o)
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			t.Logf("%s: %v", time.Since(start).Round(time.Millisecond), err)
			if took := time.Since(start); took > 5*time.Second+late {
				t.Errorf("took %s", took)
			}
			if strings.Contains(err.Error(), o.Key) {
				t.Errorf("the error tells the key: %v", err)
			}
			var refused *ceph.Error
			switch {
			case tc.want == errAny:
			case tc.want != nil && !errors.Is(err, tc.want):
				t.Errorf("error %v, want %v", err, tc.want)
			case tc.want == nil && (!errors.As(err, &refused) || refused.Errno != syscall.EACCES && refused.Errno != syscall.EPERM && refused.Errno != syscall.EINVAL):
				t.Errorf("error %v, want a refusal", err)
			}
		})
	}
}

func TestCloseEndsCallsAndLeavesNothing(t *testing.T) {
	dial(t) // what the libraries start once in a process
	before := runtime.NumGoroutine()
	c, err := librados.Dial(within(t, patience), options(t))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for {
				if err := list(within(t, patience), c); err != nil {
					if !errors.Is(err, librados.ErrClosed) {
						t.Errorf("command: %v, want ErrClosed", err)
					}
					return
				}
				if _, err := c.Tree(fsName).ReadDir(within(t, patience), "/"); err != nil {
					if !errors.Is(err, librados.ErrClosed) {
						t.Errorf("tree: %v, want ErrClosed", err)
					}
					return
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond) // of calls coming and going
	c.Close()
	c.Close()
	all.Wait()
	for _, err := range []error{list(t.Context(), c), c.Tree(fsName).MakeDir(t.Context(), "/never"), c.Objects(poolRep, "x").Unlock(t.Context(), "o", "l", "c")} {
		if !errors.Is(err, librados.ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before+2; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}
