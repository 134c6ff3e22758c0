package report

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

func of(node string, available int64) Report {
	return Report{
		Node: node, Segment: volume.Segment{tier.NodeKey: node, "csi.strata.dev/scratch-loop": "true"}, Time: time.Now().UTC().Truncate(time.Second),
		Classes: map[string]volume.Capacity{"default": {Available: available, Largest: available / 2}, "full": {}},
	}
}

func write(t *testing.T, dir string, reports ...Report) {
	t.Helper()
	w, err := NewWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if err := w.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// reader looks anew at each call, and logs into the returned buffer.
func reader(t *testing.T, dir string) (*Reader, func() string) {
	t.Helper()
	log := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
	r := NewReader(log, dir, time.Minute)
	r.cached = 0
	sink, ok := log.GetSink().(ktesting.Underlier)
	if !ok {
		t.Fatal("the logger keeps nothing")
	}
	return r, func() string { return sink.GetBuffer().String() }
}

func expect(t *testing.T, s Source, want ...Report) {
	t.Helper()
	got, err := s.Reports(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shared", "reports")
	a, b, dotted := of("a", 10), of("b", 20), of("ip-10-0-0-1.ec2.internal", 30)
	r, _ := reader(t, dir)
	write(t, dir, b, dotted, a)
	expect(t, r, a, b, dotted)
	a.Classes = map[string]volume.Capacity{"other": {Available: 5}}
	write(t, dir, a)
	expect(t, r, a, b, dotted)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Errorf("3 nodes left %v, %v", files, err)
	}
	// The form of the file is for others, too.
	text, err := os.ReadFile(filepath.Join(dir, "b.json"))
	want := fmt.Sprintf(`{"node":"b","segment":{"csi.strata.dev/node":"b","csi.strata.dev/scratch-loop":"true"},"time":%q,"classes":{"default":{"available":20,"largest":10},"full":{"available":0,"largest":0}}}`+"\n", b.Time.Format(time.RFC3339))
	if err != nil || string(text) != want {
		t.Errorf("got  %s, %v\nwant %s", text, err, want)
	}
}

func TestASilentNodeIsSaidOnce(t *testing.T) {
	dir := t.TempDir()
	old, future, good := of("old", 1), of("future", 1), of("good", 1)
	old.Time, future.Time = old.Time.Add(-2*time.Minute), future.Time.Add(time.Hour)
	write(t, dir, old, future, good)
	r, said := reader(t, dir)
	for range 3 {
		expect(t, r, good)
	}
	for _, want := range []string{"node old reported last", "older than 1m0s isn't used", "strata-node", "node future reported", "set its clock"} {
		if n := strings.Count(said(), want); n != 1 {
			t.Errorf("%q was said %d times:\n%s", want, n, said())
		}
	}
	old.Time = time.Now().UTC().Truncate(time.Second)
	write(t, dir, old)
	expect(t, r, good, old)
	if !strings.Contains(said(), "is used again") {
		t.Errorf("nothing was said of its return:\n%s", said())
	}
}

func TestAFileThatIsNoReportHidesNoOther(t *testing.T) {
	dir := t.TempDir()
	good := of("good", 1)
	write(t, dir, good)
	for name, text := range map[string]string{
		"empty.json": "", "torn.json": `{"node":"torn`, "negative.json": `{"node":"negative","segment":{"csi.strata.dev/node":"negative"},"time":"2026-01-01T00:00:00Z","classes":{"c":{"available":-1}}}`,
		"nowhere.json": `{"node":"nowhere","time":"2026-01-01T00:00:00Z"}`, "never.json": `{"node":"never","segment":{"csi.strata.dev/node":"never"}}`,
		"liar.json":      `{"node":"good","segment":{"csi.strata.dev/node":"good"},"time":"2026-01-01T00:00:00Z"}`,
		"elsewhere.json": `{"node":"elsewhere","segment":{"csi.strata.dev/node":"good"},"time":"2026-01-01T00:00:00Z"}`,
		"huge.json":      strings.Repeat(" ", maxFile+1), ".hidden.json": "", "README": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(unix.Mkfifo(filepath.Join(dir, "fifo.json"), 0o600), os.Mkdir(filepath.Join(dir, "dir.json"), 0o700),
		os.Symlink("/etc/passwd", filepath.Join(dir, "link.json"))); err != nil {
		t.Fatal(err)
	}
	r, said := reader(t, dir)
	expect(t, r, good)
	for _, name := range strings.Fields("empty torn negative nowhere never liar elsewhere huge fifo dir link") {
		if !strings.Contains(said(), `report="`+name+`.json"`) {
			t.Errorf("nothing was said of %s:\n%s", name, said())
		}
	}
	if strings.Contains(said(), "hidden") || strings.Contains(said(), "README") {
		t.Errorf("files of others were taken for reports:\n%s", said())
	}
}

func TestADirectoryThatIsNotThere(t *testing.T) {
	r := NewReader(klog.Background(), filepath.Join(t.TempDir(), "none"), MaxAge)
	if _, err := r.Reports(t.Context()); !errors.Is(err, volume.ErrUnavailable) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestADirectoryThatHangs stands for an NFS server that is down: the look that runs is never joined by a second.
func TestADirectoryThatHangs(t *testing.T) {
	r, _ := reader(t, t.TempDir())
	r.reading = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Reports(ctx); !errors.Is(err, volume.ErrDeadline) {
		t.Errorf("got %v", err)
	}
	go r.look()
	expect(t, r)
}

func TestALookServesForAWhile(t *testing.T) {
	dir := t.TempDir()
	a := of("a", 1)
	write(t, dir, a)
	r := NewReader(klog.Background(), dir, MaxAge)
	r.cached = time.Hour
	expect(t, r, a)
	write(t, dir, of("b", 1))
	expect(t, r, a)
	r.at = r.at.Add(-2 * time.Hour)
	if got, err := r.Reports(t.Context()); err != nil || len(got) != 2 {
		t.Errorf("after a while: %v, %v", got, err)
	}
}

func TestReadersAndWritersAtOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, of("n0", 0), of("n1", 0), of("n2", 0))
	r, said := reader(t, dir)
	w, err := NewWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := range int64(50) {
				if err := w.Write(t.Context(), of(fmt.Sprintf("n%d", i), n)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 50 {
				if got, err := r.Reports(t.Context()); err != nil || len(got) != 3 {
					t.Errorf("%d reports, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	if said() != "" {
		t.Errorf("a report was seen in halves:\n%s", said())
	}
}

func TestWriteRefusesWhatMisleads(t *testing.T) {
	w, err := NewWriter(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Report){
		"no node":        func(r *Report) { r.Node = "" },
		"no segment":     func(r *Report) { r.Segment = nil },
		"another's":      func(r *Report) { r.Segment = volume.Segment{tier.NodeKey: "b"} },
		"no time":        func(r *Report) { r.Time = time.Time{} },
		"negative room":  func(r *Report) { r.Classes["default"] = volume.Capacity{Available: -1} },
		"negative large": func(r *Report) { r.Classes["default"] = volume.Capacity{Largest: -1} },
	} {
		r := of("a", 1)
		change(&r)
		if err := w.Write(t.Context(), r); !errors.Is(err, volume.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// lister is the place of reports other than a directory.
type lister struct {
	texts map[string][]byte
	err   error
}

func (l *lister) List(context.Context) (map[string][]byte, error) { return l.texts, l.err }

func TestReportsOfAList(t *testing.T) {
	place := &lister{texts: map[string][]byte{}}
	put := func(name string, r Report) {
		t.Helper()
		raw, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		place.texts[name] = raw
	}
	a, b, old := of("a", 10), of("b", 20), of("old", 1)
	old.Time = old.Time.Add(-2 * time.Minute)
	put("x-a", a)
	put("x-b", b)
	put("x-old", old)
	put("x-liar", a)
	place.texts["x-empty"] = nil
	log := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
	r := NewListReader(log, place, func(node string) string { return "x-" + node }, time.Minute)
	r.cached = 0
	for range 2 {
		expect(t, r, a, b)
	}
	said := log.GetSink().(ktesting.Underlier).GetBuffer().String()
	for _, want := range []string{"x-liar holds the report of node a, whose place is x-a", "x-empty is no report", "node old reported last"} {
		if n := strings.Count(said, want); n != 1 {
			t.Errorf("%q was said %d times:\n%s", want, n, said)
		}
	}
	place.err = errors.New("the API is down")
	if _, err := r.Reports(t.Context()); !errors.Is(err, volume.ErrUnavailable) || !errors.Is(err, place.err) {
		t.Errorf("got %v", err)
	}
}

func TestKeeperWritesNothingTwice(t *testing.T) {
	var written []Report
	var fail error
	k := NewKeeper(func(_ context.Context, raw []byte) error {
		if fail != nil {
			return fail
		}
		r, err := decode(raw)
		written = append(written, r)
		return err
	})
	r := of("a", 10)
	write := func(want int, err error) {
		t.Helper()
		if got := k.Write(t.Context(), r); !errors.Is(got, err) {
			t.Fatalf("got %v, want %v", got, err)
		}
		if len(written) != want {
			t.Fatalf("%d were written, want %d", len(written), want)
		}
	}
	write(1, nil)
	r.Time = r.Time.Add(MaxAge/2 - time.Second)
	write(1, nil)
	r.Time = r.Time.Add(time.Second)
	write(2, nil)
	r.Classes = map[string]volume.Capacity{"default": {Available: 9}}
	write(3, nil)
	r.Segment = volume.Segment{tier.NodeKey: "a"}
	write(4, nil)
	r.Time = r.Time.Add(-time.Hour) // the clock was set
	write(5, nil)
	if d := cmp.Diff(r, written[4]); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	// What failed may have been written all the same, or something else may be there.
	fail = errors.New("no answer")
	r.Time = r.Time.Add(MaxAge)
	write(5, fail)
	fail = nil
	write(6, nil)
}
