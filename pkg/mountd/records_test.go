package mountd_test

// What a holder finds of an earlier one.

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountd"
)

// record is the file of the one mount there is.
func (h *holder) record() string {
	h.t.Helper()
	files, err := filepath.Glob(filepath.Join(h.dir, "state", "*.json"))
	if err != nil || len(files) != 1 {
		h.t.Fatalf("records: %v, %v", files, err)
	}
	return files[0]
}

// lives tells whether a process runs; one that has ended may stay as a zombie for as long as its parent likes.
func lives(t *testing.T, pid int) bool {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return !strings.Contains(string(raw), ") Z ")
}

func TestTheEndOfTheHolderLeavesTheMounts(t *testing.T) {
	h := newHolder(t)
	s := h.spec("good")
	first := h.mustStart(s)
	wantError(t, h.cmd.Process.Signal(syscall.SIGTERM), nil)
	if err := h.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM ended it with %v\n%s", err, h.output())
	}
	if !isMounted(t, s.Mountpoint) || !lives(t, first.PID) {
		t.Fatal("the client went with it")
	}
	wantError(t, os.WriteFile(filepath.Join(s.Mountpoint, "x"), nil, 0o600), nil)
	h.start()
	if again := h.mustStart(s); again.PID != first.PID {
		t.Errorf("not adopted: %d, then %d", first.PID, again.PID)
	}
}

// A holder that dies just after it has started a client leaves the record of before.
// edit changes the record of the holder's one mount.
func (h *holder) edit(change func(fields map[string]any)) {
	h.t.Helper()
	raw, err := os.ReadFile(h.record())
	wantError(h.t, err, nil)
	var fields map[string]any
	wantError(h.t, json.Unmarshal(raw, &fields), nil)
	change(fields)
	raw, err = json.Marshal(fields)
	wantError(h.t, err, nil)
	wantError(h.t, os.WriteFile(h.record(), raw, 0o600), nil)
}

func TestAProcessOfAnotherBootIsNotAdopted(t *testing.T) {
	h := newHolder(t)
	s := h.spec("good")
	h.mustStart(s)
	h.kill()
	h.edit(func(fields map[string]any) {
		boot, ticks, ok := strings.Cut(fields["startTime"].(string), "/")
		if !ok || len(boot) != 36 || ticks == "" {
			t.Errorf("start time %q", fields["startTime"])
		}
		fields["startTime"] = "00000000-0000-0000-0000-000000000000/" + ticks
	})
	h.start()
	if st := h.status(s); st.State != mountd.Exited {
		t.Errorf("%+v", st)
	}
}

func TestTheKeyOfAnAdoptedClientIsEmptied(t *testing.T) {
	h := newHolder(t)
	st := h.mustStart(h.spec("good"))
	h.kill()
	key := fmt.Sprintf("/proc/%d/fd/3", st.PID)
	// As if the holder had died before it could do so itself.
	wantError(t, os.WriteFile(key, []byte(goodKey), 0o600), nil)
	h.start()
	if raw, err := os.ReadFile(key); err != nil || len(raw) != 0 {
		t.Errorf("it holds %q, %v", raw, err)
	}
}

func TestMoreMountsThanFitIntoOneMessageAreListed(t *testing.T) {
	const many = 150
	h := newHolder(t)
	s := h.spec("good")
	h.mustStart(s)
	wantError(t, h.Stop(h.ctx(), s.Mountpoint), nil)
	h.kill()
	for i := range many {
		s.Mountpoint = fmt.Sprintf("%s/%d-%s", h.dir, i, strings.Repeat("x", 800))
		raw, err := json.Marshal(map[string]any{"spec": s, "pid": 0, "since": time.Now()})
		wantError(t, err, nil)
		name := fmt.Sprintf("%x.json", sha256.Sum256([]byte(s.Mountpoint)))
		wantError(t, os.WriteFile(filepath.Join(h.dir, "state", name[:24]+".json"), raw, 0o600), nil)
	}
	h.start()
	all, err := h.List(h.ctx())
	if err != nil || len(all) != many {
		t.Fatalf("%d mounts, %v", len(all), err)
	}
	if st := h.status(s); st.State != mountd.Exited || st.Spec.User != "good" {
		t.Errorf("%+v", st)
	}
}

func TestARecordWithoutAProcess(t *testing.T) {
	withoutProcess := func(t *testing.T) (*holder, mountd.Spec, mountd.Status) {
		h := newHolder(t)
		s := h.spec("good")
		first := h.mustStart(s)
		h.kill()
		h.edit(func(fields map[string]any) { fields["pid"], fields["startTime"], fields["device"] = 0, "", "" })
		return h, s, first
	}
	t.Run("whose client lives is adopted", func(t *testing.T) {
		h, s, first := withoutProcess(t)
		h.start()
		if st := h.status(s); st.State != mountd.Running || st.PID != first.PID {
			t.Errorf("%+v", st)
		}
		if again := h.mustStart(s); again.PID != first.PID {
			t.Error("it was replaced")
		}
		wantError(t, h.Stop(h.ctx(), s.Mountpoint), nil)
	})
	t.Run("whose client never came to be is replaced", func(t *testing.T) {
		h, s, first := withoutProcess(t)
		wantError(t, unix.Kill(first.PID, unix.SIGKILL), nil)
		h.unmount(s.Mountpoint, 0)
		h.start()
		if st := h.status(s); st.State != mountd.Exited {
			t.Errorf("%+v", st)
		}
		h.mustStart(s)
	})
}

func TestRecordsThatCannotBeReadDoNotKeepTheHolderFromTheOthers(t *testing.T) {
	h := newHolder(t)
	s := h.spec("good")
	first := h.mustStart(s)
	h.kill()
	own, err := os.ReadFile(h.record())
	wantError(t, err, nil)
	strange := map[string]string{
		"cut off": string(own[:len(own)/2]), "empty": "", "another's": `{"hello":"world"}`, "a list": "[]", "under another name": string(own),
	}
	for name, content := range strange {
		wantError(t, os.WriteFile(filepath.Join(h.dir, "state", name+".json"), []byte(content), 0o600), nil)
	}
	h.start()
	if again := h.mustStart(s); again.PID != first.PID {
		t.Errorf("not adopted: %d, then %d", first.PID, again.PID)
	}
	for name := range strange {
		aside := name + ".json.unreadable"
		if !strings.Contains(h.output(), aside) {
			t.Errorf("nothing is said about %s", aside)
		}
		if _, err := os.Stat(filepath.Join(h.dir, "state", aside)); err != nil {
			t.Errorf("it isn't kept: %v", err)
		}
	}
	h.record() // one is left
}

func TestAClientWhoseRecordIsLostIsFoundAgain(t *testing.T) {
	setUp := func(t *testing.T) (*holder, mountd.Spec, mountd.Status) {
		h := newHolder(t)
		s := h.spec("fuse")
		first := h.mustStart(s)
		h.kill()
		wantError(t, os.Remove(h.record()), nil)
		h.start()
		return h, s, first
	}
	t.Run("when it is asked for", func(t *testing.T) {
		h, s, first := setUp(t)
		if again := h.mustStart(s); again.PID != first.PID || again.State != mountd.Running {
			t.Errorf("%d, then %+v", first.PID, again)
		}
		h.record()
		wantError(t, h.Stop(h.ctx(), s.Mountpoint), nil)
		if lives(t, first.PID) {
			t.Error("stop didn't wait for its end")
		}
	})
	t.Run("and not taken for another", func(t *testing.T) {
		h, s, first := setUp(t)
		s.ReadOnly = true
		wantError(t, h.Start(h.ctx(), s, []byte(goodKey)), mountd.ErrConflict)
		if !lives(t, first.PID) || !isMounted(t, s.Mountpoint) {
			t.Error("it was ended")
		}
	})
	t.Run("unless it is dead", func(t *testing.T) {
		h, s, first := setUp(t)
		wantError(t, unix.Kill(first.PID, unix.SIGUSR1), nil)
		h.eventually("it is evicted", func() bool { _, err := os.Stat(s.Mountpoint); return err != nil })
		if again := h.mustStart(s); again.PID == first.PID {
			t.Error("not replaced")
		}
	})
}
