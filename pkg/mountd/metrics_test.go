package mountd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/pkg/mountd"
)

var servingMetrics = regexp.MustCompile(`"Serving metrics" address="([^"]+)"`)

// metrics are those of ours, by name and labels, as the holder that runs now serves them.
func (h *holder) metrics() map[string]float64 {
	h.t.Helper()
	addresses := servingMetrics.FindAllStringSubmatch(h.output(), -1)
	if len(addresses) == 0 {
		h.t.Fatalf("it serves no metrics:\n%s", h.output())
	}
	r, err := http.Get("http://" + addresses[len(addresses)-1][1] + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	found := map[string]float64{}
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			found[strings.TrimPrefix(name, "strata_fuse_")] = v
		}
	}
	return found
}

func (h *holder) expect(when string, want map[string]float64) {
	h.t.Helper()
	got := h.metrics()
	for name, v := range want {
		if got[name] != v {
			h.t.Errorf("%s: %s is %v, want %v", when, name, got[name], v)
		}
	}
}

func TestMetricsCountTheClients(t *testing.T) {
	h := newHolder(t)
	h.expect("a new holder", map[string]float64{`clients{state="running"}`: 0, "clients_started_total": 0, "clients_died_total": 0})

	s := h.spec("good")
	h.mustStart(s)
	if err := h.Stop(h.ctx(), s.Mountpoint); err != nil {
		t.Fatal(err)
	}
	h.expect("a client came and went", map[string]float64{`clients{state="running"}`: 0, "clients_started_total": 1, "clients_died_total": 0, "requests_refused_total": 0})

	s.User = "denied"
	if err := h.Start(h.ctx(), s, []byte(goodKey)); err == nil {
		t.Fatal("a denied client mounted")
	}
	h.expect("a client was denied", map[string]float64{"clients_started_total": 2, "clients_died_total": 0, "requests_refused_total": 1})

	s.User = "good"
	st := h.mustStart(s)
	h.kill()
	h.start()
	h.expect("the holder was killed and is back", map[string]float64{`clients{state="running"}`: 1, "clients_started_total": 0, "clients_adopted_total": 1})

	if err := syscall.Kill(st.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.eventually("the death is counted", func() bool { return h.metrics()["clients_died_total"] == 1 })
	h.expect("its client was killed", map[string]float64{`clients{state="running"}`: 0, `clients{state="exited"}`: 1})
}

// TestWhatEnginesCountIsAddedUp: the end of an engine takes nothing from a counter, and what is the node's is counted once.
func TestWhatEnginesCountIsAddedUp(t *testing.T) {
	h := newHolder(t)
	want := func(when string, counted, live, listed float64) {
		t.Helper()
		all := map[string]float64{
			`strata_cold_operation_errors_total{errno="EIO",operation="READ"}`: counted, "strata_cold_operation_seconds_count": 3 * counted, "strata_cold_operation_seconds_sum": 4.5 * counted,
			`strata_cold_operation_seconds_bucket{le="1"}`: 0, `strata_cold_operation_seconds_bucket{le="2"}`: 3 * counted, `strata_cold_operation_seconds_bucket{le="+Inf"}`: 3 * counted,
			"strata_cold_handles": 2 * live, "strata_cold_cache_bytes": 7 * min(live, 1), "strata_cold_listing_timestamp_seconds": listed,
		}
		h.eventually(when, func() bool { return h.metrics()["strata_cold_operation_seconds_count"] == 3*counted })
		h.expect(when, all)
	}
	h.expect("no engine yet", map[string]float64{"strata_cold_operation_seconds_count": 0})
	first := h.coldSpec("good")
	h.mustStartCold(first)
	want("one engine", 1, 1, 1000)
	second := first
	second.Engine = json.RawMessage(`{"prefix":"old/"}`)
	second.Mountpoint = filepath.Join(h.dir, "second")
	if err := os.Mkdir(second.Mountpoint, 0o700); err != nil {
		t.Fatal(err)
	}
	h.mustStartCold(second)
	want("two engines", 2, 2, 100)
	wantError(t, h.Stop(h.ctx(), first.Mountpoint), nil)
	want("one of them has ended", 2, 1, 100)
	h.mustStartCold(first)
	want("and a third one", 3, 2, 100)
	liar := first
	liar.Mountpoint, liar.Engine = second.Mountpoint, json.RawMessage(`{"prefix":"miscounts/"}`)
	wantError(t, h.Stop(h.ctx(), second.Mountpoint), nil)
	h.mustStartCold(liar)
	h.eventually("it is said that one counts what isn't its own", func() bool {
		return strings.Contains(h.output(), "An engine counts what this strata-mountd doesn't understand")
	})
	want("and nothing of it is there", 3, 1, 1000)
}

func TestTheMetricsAddressIsChecked(t *testing.T) {
	for _, address := range []string{":9810", "localhost"} {
		o := optionsBelow(t.TempDir(), "ceph-fuse")
		o.MetricsAddress = address
		if err := mountd.Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "--metrics-address") {
			t.Errorf("%q: %v", address, err)
		}
	}
}
