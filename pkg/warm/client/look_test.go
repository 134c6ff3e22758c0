package client

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/volume"
)

func contextWithMillis(t *testing.T, ms int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), time.Duration(ms)*time.Millisecond)
}

func TestRecognition(t *testing.T) {
	f := newFixture(t)
	kernel := mountpoint.Mount{FSType: "ceph", Source: "10.0.0.1:6789,10.0.0.2:6789:/volumes/team/vol/5e1f", Root: "/", SuperOptions: []string{"rw", "name=u1", "mds_namespace=fs1"}}
	fuse := mountpoint.Mount{FSType: "fuse", Source: "strata:" + string(writable), Root: "/"}
	change := func(m mountpoint.Mount, f func(*mountpoint.Mount)) mountpoint.Mount { f(&m); return m }
	for name, c := range map[string]struct {
		id       volume.ID
		m        mountpoint.Mount
		client   bool
		complete bool
	}{
		"ceph-fuse":                     {writable, fuse, true, true},
		"ceph-fuse with its subtype":    {writable, change(fuse, func(m *mountpoint.Mount) { m.FSType = "fuse.ceph-fuse" }), true, true},
		"ceph-fuse of another volume":   {writable + "2", fuse, false, false},
		"ceph-fuse of the view":         {writable + ":ro", fuse, false, false},
		"a part of the volume":          {writable, change(fuse, func(m *mountpoint.Mount) { m.Root = "/sub" }), true, false},
		"another FUSE file system":      {writable, change(fuse, func(m *mountpoint.Mount) { m.FSType = "fuse.sshfs" }), false, false},
		"kernel":                        {writable, kernel, true, true},
		"kernel with fs=":               {writable, change(kernel, func(m *mountpoint.Mount) { m.SuperOptions = []string{"fs=fs1"} }), true, true},
		"kernel, IPv6 monitor":          {writable, change(kernel, func(m *mountpoint.Mount) { m.Source = "[::1]:6789:/volumes/team/vol/5e1f" }), true, true},
		"kernel, another file system":   {writable, change(kernel, func(m *mountpoint.Mount) { m.SuperOptions = []string{"mds_namespace=fs2"} }), false, false},
		"kernel, another volume":        {"warm:lab:fs1:team:vo", kernel, false, false},
		"kernel, another group":         {"warm:lab:fs1:tea:vol", kernel, false, false},
		"kernel's snapshot":             {snapped, change(kernel, func(m *mountpoint.Mount) { m.Root = "/.snap/s_1/5e1f" }), true, true},
		"kernel's snapshot, interrupt":  {snapped, kernel, true, false},
		"kernel's .snap itself":         {snapped, change(kernel, func(m *mountpoint.Mount) { m.Root = "/.snap" }), true, false},
		"a directory in the snapshot":   {snapped, change(kernel, func(m *mountpoint.Mount) { m.Root = "/.snap/s_1/5e1f/sub" }), true, false},
		"a snapshot for a writable one": {writable, change(kernel, func(m *mountpoint.Mount) { m.Root = "/.snap/s_1/5e1f" }), true, false},
		"ext4":                          {writable, mountpoint.Mount{FSType: "ext4", Source: "/dev/vda1", Root: "/"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			tg, ok := f.targetOf(c.id)
			if !ok {
				t.Fatal("not an id")
			}
			if got := tg.client(c.m); got != c.client {
				t.Errorf("client: %v", got)
			}
			if got := tg.complete(c.m); got != c.complete {
				t.Errorf("complete: %v", got)
			}
		})
	}
	for _, id := range []volume.ID{"cold:a:b:c:d", "warm:a", ""} {
		if _, ok := f.targetOf(id); ok {
			t.Errorf("%q is taken for a warm volume", id)
		}
	}
}

func TestLocate(t *testing.T) {
	f := newFixture(t)
	paths, err := f.Locate(t.Context(), writable)
	if err != nil || len(paths) != 0 {
		t.Errorf("got %v, %v", paths, err)
	}
	fuseMount(t, writable, f.dir, true) // a dead mount is found as well
	paths, err = f.Locate(t.Context(), writable)
	if err != nil || len(paths) != 1 || paths[0] != f.dir {
		t.Errorf("got %v, %v", paths, err)
	}
}

func TestHealth(t *testing.T) {
	health := func(t *testing.T, f *fixture, reason string, says ...string) {
		t.Helper()
		ctx, cancel := contextWithMillis(t, 300)
		defer cancel()
		c, err := f.MountHealth(ctx, writable, f.dir)
		if err != nil || len(c) != 1 {
			t.Fatalf("got %v, %v", c, err)
		}
		if c[0].Severity != volume.Inaccessible || c[0].Reason != reason {
			t.Errorf("got %+v", c[0])
		}
		for _, s := range says {
			if !strings.Contains(c[0].Message, s) {
				t.Errorf("%q doesn't say %q", c[0].Message, s)
			}
		}
	}
	t.Run("not mounted", func(t *testing.T) { health(t, newFixture(t), ReasonNotMounted) })
	t.Run("dead", func(t *testing.T) {
		f := newFixture(t)
		fuseMount(t, writable, f.dir, true)
		health(t, f, ReasonMountDead, "ceph-fuse has ended", "killed by a test", "Delete the pods")
	})
	t.Run("evicted", func(t *testing.T) {
		f := newFixture(t)
		mountpointtest.CutFrom(t, sourceOf(writable), f.dir, unix.ESHUTDOWN)
		health(t, f, ReasonMountDead, "evicted", "Delete the pods")
	})
	t.Run("silent", func(t *testing.T) {
		f := newFixture(t)
		fuseMount(t, writable, f.dir, false)
		health(t, f, ReasonMountSilent, "ceph health detail")
	})
	t.Run("another's", func(t *testing.T) {
		f := newFixture(t)
		mountpointtest.TmpFS(t, f.dir)
		health(t, f, ReasonWrongMount)
	})
}

func TestObituaryNamesTheCause(t *testing.T) {
	f := newFixture(t)
	for err, want := range map[error]string{
		unix.ENOTCONN: "ceph-fuse has ended", unix.EACCES: "evicted", unix.ESHUTDOWN: "evicted", unix.ESTALE: "no longer exists", unix.EHOSTDOWN: "cut off",
	} {
		if got := f.obituary(t.Context(), writable, "/p", err); !strings.Contains(got, want) {
			t.Errorf("%v: %q", err, got)
		}
	}
}

func TestQuotaConditions(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		u    volume.Usage
		full bool
	}{
		"no quota":                  {volume.Usage{UsedBytes: 5}, false},
		"empty":                     {volume.Usage{TotalBytes: 100 * mib, AvailableBytes: 100 * mib}, false},
		"room left":                 {volume.Usage{TotalBytes: 100 * mib, UsedBytes: 98 * mib, AvailableBytes: 2 * mib}, false},
		"a few bytes left":          {volume.Usage{TotalBytes: 100 * mib, UsedBytes: 100*mib - 14656, AvailableBytes: 14656}, true},
		"over":                      {volume.Usage{TotalBytes: 100 * mib, UsedBytes: 111 * mib}, true},
		"a large one with 2 MiB":    {volume.Usage{TotalBytes: 1 << 40, UsedBytes: 1<<40 - 2*mib, AvailableBytes: 2 * mib}, false},
		"files left":                {volume.Usage{TotalInodes: 10, UsedInodes: 9, AvailableInodes: 1}, false},
		"no files left":             {volume.Usage{TotalInodes: 10, UsedInodes: 10}, true},
		"a tiny one with half left": {volume.Usage{TotalBytes: 4096, UsedBytes: 2048, AvailableBytes: 2048}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := quotaConditions(c.u)
			if (len(got) == 1) != c.full {
				t.Fatalf("got %v", got)
			}
			if c.full && (got[0].Severity != volume.Degraded || got[0].Reason != ReasonQuotaReached) {
				t.Errorf("got %+v", got[0])
			}
		})
	}
}
