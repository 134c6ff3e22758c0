package kernel

// Mounts that must not come about.

import (
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/tests/kernel/agent"
)

func (n node) testFailures(t *testing.T) {
	s := n.cluster.createSubvolume(t, "failures", 64*mib, "rw")
	other := n.cluster.createSubvolume(t, "failures-other", 64*mib, "rw")
	// The identity is mounted rightly all along: a wrong key must not ride on it.
	n.mount(t, n.request(s, target(t)+"-good"))
	for name, tc := range map[string]struct {
		change func(*agent.MountRequest)
		want   agent.Kind
		says   string
	}{
		"another identity's key":    {func(r *agent.MountRequest) { r.Key = other.key }, agent.KindNotServed, "authentication failed"},
		"an identity there isn't":   {func(r *agent.MountRequest) { r.Mount.User = "nobody" }, agent.KindNotServed, "authentication failed"},
		"another volume's path":     {func(r *agent.MountRequest) { r.Mount.Path = other.path }, agent.KindDenied, "capability"},
		"the whole file system":     {func(r *agent.MountRequest) { r.Mount.Path = "/" }, agent.KindDenied, "capability"},
		"a path there isn't":        {func(r *agent.MountRequest) { r.Mount.Path = s.path + "/no" }, agent.KindNotFound, "exists"},
		"a file system there isn't": {func(r *agent.MountRequest) { r.Mount.FS = "nosuch" }, agent.KindNotServed, "ceph fs status nosuch"},
		"a monitor that isn't one": {func(r *agent.MountRequest) {
			r.Mount.Monitors, r.Mount.Options = []string{"127.0.0.1:1"}, []string{"mount_timeout=3"}
		}, agent.KindUnreachable, "127.0.0.1:1"},
		"an option that isn't allowed": {func(r *agent.MountRequest) { r.Mount.Options = []string{"name=admin"} }, agent.KindInvalid, "name"},
		"options this kernel knows": {func(r *agent.MountRequest) {
			r.Mount.Options = []string{"osd_request_timeout=5", "crush_location=host:a", "read_from_replica=no"}
		}, agent.KindNone, ""},
		"a target that is no directory": {func(r *agent.MountRequest) { r.Target = "/proc/version" }, agent.KindOther, "attach"},
	} {
		t.Run(name, func(t *testing.T) {
			req := n.request(s, target(t))
			tc.change(&req)
			if req.Target != "/proc/version" {
				n.sh(t, "mkdir -p "+req.Target)
			}
			r := n.callAsIs(t, req)
			if r.Kind != tc.want || !strings.Contains(r.Error, tc.says) {
				t.Errorf("got %q: %s", r.Kind, r.Error)
			}
			if got := n.mounted(t, req.Target); got != (tc.want == agent.KindNone) {
				t.Errorf("mounted: %v", got)
			}
		})
	}
}

func (n node) testDeadline(t *testing.T) {
	s := n.cluster.createSubvolume(t, "deadline", 64*mib, "rw")
	if err := n.Network(t.Context(), agent.NetworkCut); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Network(t.Context(), agent.NetworkUp); err != nil {
			t.Error(err)
		}
	}()
	req := n.request(s, target(t))
	req.Mount.Options = []string{"mount_timeout=20"}
	req.Timeout, req.Again, req.Settle = time.Second, true, true
	// The process goes on until the abandoned attempt is over; what then follows is
	// another one, which is abandoned in its turn. Neither call waits for the kernel's 20 s.
	r := n.call(t, req)
	if r.Kind != agent.KindDeadline || r.Took > 18*time.Second {
		t.Errorf("first call: %+v", r)
	}
	if r.Second == nil || r.Second.Kind != agent.KindInFlight || r.Second.Took > 18*time.Second {
		t.Errorf("second call: %+v", r.Second)
	}
	if r.Settled == nil || r.Settled.Kind != agent.KindDeadline {
		t.Errorf("after the first attempt: %+v", r.Settled)
	}
	if n.mounted(t, req.Target) {
		t.Error("something is mounted")
	}
}
