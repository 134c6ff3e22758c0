package kubeevents

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/tier"
)

const driver = "csi.example.com"

func persistentVolume(name, driver, handle string, claim *v1.ObjectReference) *v1.PersistentVolume {
	return &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{ClaimRef: claim,
		PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}}}}
}

// server is the part of an API server that a Recorder asks.
type server struct {
	volumes []v1.PersistentVolume

	mu     sync.Mutex
	events map[string]*v1.Event
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := func(o any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(o)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	ns, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"), "/events")
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/persistentvolumes":
		answer(v1.PersistentVolumeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeList"}, Items: s.volumes})
	case r.Method == http.MethodPost && name == "":
		var e v1.Event
		if err := json.Unmarshal(body, &e); err != nil || e.Namespace != ns {
			http.Error(w, "no event of this namespace", http.StatusBadRequest)
			return
		}
		s.events[e.Name] = &e
		answer(&e)
	case r.Method == http.MethodPatch && s.events[strings.TrimPrefix(name, "/")] != nil:
		e := s.events[strings.TrimPrefix(name, "/")]
		if err := json.Unmarshal(body, e); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(e)
	default:
		http.NotFound(w, r)
	}
}

// run returns a Recorder at work, and what returns the Events that were made when there are as many.
func run(t *testing.T) (*Recorder, func(want int) []v1.Event) {
	t.Helper()
	s := &server{events: map[string]*v1.Event{}, volumes: []v1.PersistentVolume{
		*persistentVolume("pv-0", "other.example.com", "warm:a", &v1.ObjectReference{Namespace: "team", Name: "wrong"}),
		*persistentVolume("pv-1", driver, "warm:a", &v1.ObjectReference{Namespace: "team", Name: "data", UID: "u1"}),
		*persistentVolume("pv-2", driver, "warm:unbound", nil),
	}}
	h := httptest.NewServer(s)
	r, err := New(&rest.Config{Host: h.URL}, driver, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.Close()
	})
	return r, func(want int) []v1.Event {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			s.mu.Lock()
			var all []v1.Event
			total := 0
			for _, e := range s.events {
				all = append(all, *e)
				total += int(e.Count)
			}
			s.mu.Unlock()
			if total == want {
				return all
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d events, want %d: %v", total, want, all)
			}
		}
	}
}

func TestEventsAreOfTheClaimOrThePod(t *testing.T) {
	r, made := run(t)
	r.Claim(t.Context(), "warm:unbound", events.VolumeMountDead, "nobody to tell")
	r.Claim(t.Context(), "warm:a", events.VolumeMountDead, "the mount is dead")
	r.Pod(t.Context(), tier.Pod{Name: "p", Namespace: "team", UID: "u2"}, events.ScratchVolumeRecovered, "healthy again")
	got := map[string]string{}
	for _, e := range made(2) {
		o := e.InvolvedObject
		got[fmt.Sprintf("%s %s/%s %s", o.Kind, o.Namespace, o.Name, o.UID)] = fmt.Sprintf("%s %s %s %s %s", e.Namespace, e.Type, e.Reason, e.Message, e.Source.Host)
	}
	for object, want := range map[string]string{
		"PersistentVolumeClaim team/data u1": "team Warning VolumeMountDead the mount is dead node-1",
		"Pod team/p u2":                      "team Normal ScratchVolumeRecovered healthy again node-1",
	} {
		if got[object] != want {
			t.Errorf("%s: %q, want %q; of %v", object, got[object], want, got)
		}
	}
}

func TestEqualEventsAreOneWithACount(t *testing.T) {
	r, made := run(t)
	for range 5 {
		r.Claim(t.Context(), "warm:a", events.VolumeMountDead, "the mount is dead")
	}
	if all := made(5); len(all) != 1 || all[0].Count != 5 {
		t.Errorf("%v", all)
	}
}

func TestTellingNeverWaits(t *testing.T) {
	r, err := New(&rest.Config{Host: "127.0.0.1:1"}, driver, "node-1") // nobody runs it
	if err != nil {
		t.Fatal(err)
	}
	for range 10 * waiting {
		r.Claim(t.Context(), "warm:a", events.VolumeMountDead, "dead")
	}
	if len(r.queue) != waiting {
		t.Errorf("%d wait", len(r.queue))
	}
}

func TestLongMessagesFitTheAPI(t *testing.T) {
	for n := range 4 {
		got := shorten(strings.Repeat("x", n) + strings.Repeat("€", 1000))
		if len(got) > longest || len(got) < longest-4 || !utf8.ValidString(got) {
			t.Errorf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
	}
	if got := shorten("short"); got != "short" {
		t.Error(got)
	}
}
