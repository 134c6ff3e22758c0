package client

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/pkg/tier/tiertest"
	"github.com/strata-csi/strata/pkg/volume"
)

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if want == nil && err != nil || !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	if err != nil && strings.Contains(err.Error(), testSecret) {
		t.Fatalf("the secret is in the error: %v", err)
	}
}

func TestConforms(t *testing.T) {
	f := newFixture(t)
	bad, another := volumeContext(), volumeContext()
	bad["bucket"] = ""
	another["prefix"] = "team/other/"
	tiertest.Conform(t, tiertest.Subject{
		Stager: f.Stager, Volume: shared, Context: volumeContext(), Other: other, OtherContext: another,
		Secrets: secrets(), BadContext: bad, SecretsMissing: true,
	})
}

func TestWhatTheHolderIsAskedFor(t *testing.T) {
	f := newFixture(t)
	spec := f.spec()
	spec.Options = []string{"ro", "noatime", "noatime"}
	spec.Secrets[secret.KeySessionToken] = "token"
	spec.Secrets[secret.KeyCABundle] = string(s3test.NewAuthority(t).PEM)
	wantError(t, f.Stage(t.Context(), spec), nil)
	got := f.holder.started[0]
	if got.Mountpoint != f.dir || got.Source != "strata:"+string(shared) || !got.ReadOnly || !slices.Equal(got.Options, []string{"noatime"}) {
		t.Errorf("got %+v", got)
	}
	var c config.Config
	engineOf(t, got, &c)
	if c.Volume != string(shared) || c.Store.Endpoint != "http://127.0.0.1:9000" || c.Store.Bucket != "data" || c.Prefix != "team/vol/" || !c.ReadOnly ||
		string(c.Store.CABundle) != spec.Secrets[secret.KeyCABundle] {
		t.Errorf("the engine is told %+v", c)
	}
	for _, ofTheNode := range []string{"cacheDir", "cacheLimit", "cacheReserve", "memoryLimit", testSecret} {
		if bytes.Contains(got.Engine, []byte(ofTheNode)) {
			t.Errorf("%s is in %s", ofTheNode, got.Engine)
		}
	}
	if want := `{"accessKeyID":"key","secretAccessKey":"` + testSecret + `","sessionToken":"token"}`; f.holder.secrets[0] != want {
		t.Errorf("the secret is %s", f.holder.secrets[0])
	}
	wantError(t, f.Unstage(t.Context(), shared, f.dir), nil)
	if !slices.Contains(f.holder.ended, f.dir) {
		t.Error("nobody waits for the end of the engine")
	}
}

// bundle are secrets with a CA bundle.
func bundle(text string) map[string]string {
	s := secrets()
	s[secret.KeyCABundle] = text
	return s
}

func TestWhatTheEngineIsTold(t *testing.T) {
	f := newFixture(t)
	spec := f.spec()
	spec.Context = volumecontext.Context{
		Endpoint: "http://127.0.0.1:9000", Bucket: "data", Prefix: "team/vol/", Region: "eu", StorageClass: "STANDARD_IA", SSE: "AES256", ReadOnly: true, Immutable: true,
		CacheSize: 1 << 30, UID: 1, GID: 2, DirMode: 0o750, FileMode: 0o640, MetadataTTL: time.Minute, EnforceQuota: true, Capacity: 5 << 30,
	}.Map()
	wantError(t, f.Stage(t.Context(), spec), nil)
	var c config.Config
	engineOf(t, f.holder.started[0], &c)
	want := config.Config{
		Volume: string(shared), Store: s3.Location{Endpoint: "http://127.0.0.1:9000", Region: "eu", Bucket: "data"}, Prefix: "team/vol/", ReadOnly: true, Immutable: true,
		MetadataTTL: time.Minute, UID: 1, GID: 2, DirMode: 0o750, FileMode: 0o640, StorageClass: "STANDARD_IA", SSE: "AES256", Capacity: 5 << 30, EnforceQuota: true, CacheShare: 1 << 30,
	}
	if diff := cmp.Diff(want, c, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-) wanted, (+) told:\n%s", diff)
	}
}

func TestStageRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		context map[string]string
		options []string
		secrets map[string]string
		says    string
	}{
		"no secret":                      {secrets: map[string]string{}, says: "node-stage-secret-name"},
		"no secret access key":           {secrets: map[string]string{secret.KeyAccessKeyID: "key"}, says: "secretAccessKey"},
		"another tier's secret":          {secrets: map[string]string{"userID": "u", "userKey": testSecret}, says: "accessKeyID"},
		"a bundle without a certificate": {secrets: bundle("PEM"), says: "CA bundle has no certificate"},
		"a bundle that is too large":     {secrets: bundle(strings.Repeat("x", s3.MaxCABundle+1)), says: "at most 16384"},
		"another volume's prefix":        {context: map[string]string{"bucket": ""}, says: "bucket"},
		"a flag nobody knows":            {options: []string{"noatim"}, says: "noatime"},
		"a setting of the engine":        {options: []string{"uid=5"}, says: "parameters of the StorageClass"},
		"a flag that adds a right":       {options: []string{"suid"}, says: "nosuid"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			spec := f.spec()
			for k, v := range c.context {
				spec.Context[k] = v
			}
			spec.Options = c.options
			if c.secrets != nil {
				spec.Secrets = c.secrets
			}
			err := f.Stage(t.Context(), spec)
			wantError(t, err, volume.ErrInvalid)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q doesn't say %q", err, c.says)
			}
			if len(f.holder.started) != 0 {
				t.Error("something was mounted")
			}
		})
	}
}

func TestAFailedStartLeavesNothing(t *testing.T) {
	f := newFixture(t)
	f.holder.fail = fmt.Errorf("%w: no", volume.ErrDenied)
	wantError(t, f.Stage(t.Context(), f.spec()), volume.ErrDenied)
	wantError(t, f.Staged(t.Context(), shared, f.dir), volume.ErrNotFound)
}

func TestARepeatedStageHandsTheCredentialsOn(t *testing.T) {
	for name, c := range map[string]struct{ holder, want error }{
		"taken":                       {nil, nil},
		"an engine of before":         {fmt.Errorf("%w: detached", volume.ErrPrecondition), nil},
		"an engine that nobody knows": {fmt.Errorf("%w: none", volume.ErrNotFound), nil},
		"no holder":                   {fmt.Errorf("%w: no", volume.ErrUnavailable), volume.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			wantError(t, f.Stage(t.Context(), f.spec()), nil)
			before, _, err := mountpoint.Find(f.dir)
			wantError(t, err, nil)
			f.holder.renewal = c.holder
			spec := f.spec()
			spec.Secrets[secret.KeyAccessKeyID] = "newer"
			wantError(t, f.Stage(t.Context(), spec), c.want)
			if len(f.holder.started) != 1 || len(f.holder.renewed) != 1 || !strings.Contains(f.holder.renewed[0], `"accessKeyID":"newer"`) {
				t.Errorf("started %d times, renewed with %q", len(f.holder.started), f.holder.renewed)
			}
			if after, ok, err := mountpoint.Find(f.dir); err != nil || !ok || after.ID != before.ID {
				t.Errorf("mounted anew: %+v, %v", after, err)
			}
		})
	}
}

func TestOnlyNewCredentialsAreHandedOn(t *testing.T) {
	f := newFixture(t)
	wantError(t, f.Stage(t.Context(), f.spec()), nil)
	newer := func(name string) map[string]string {
		s := secrets()
		s[secret.KeyAccessKeyID] = name
		return s
	}
	renew := func(s map[string]string, want error, asked int) {
		t.Helper()
		wantError(t, f.Renew(t.Context(), shared, f.dir, s), want)
		if len(f.holder.renewed) != asked {
			t.Fatalf("the holder was asked %d times, want %d", len(f.holder.renewed), asked)
		}
	}
	renew(secrets(), nil, 1) // what Start was given may not be what a running engine has
	renew(secrets(), nil, 1)
	renew(newer("2"), nil, 2)
	renew(newer("2"), nil, 2)
	renew(map[string]string{"userID": "u"}, volume.ErrInvalid, 2)
	f.holder.renewal = volume.ErrUnavailable
	renew(newer("3"), volume.ErrUnavailable, 3)
	f.holder.renewal = nil
	renew(newer("3"), nil, 4) // it has never arrived
	f.holder.renewal = volume.ErrPrecondition
	renew(newer("4"), nil, 5)
	renew(newer("4"), nil, 5) // such an engine will never take any
	f.holder.renewal = nil
	wantError(t, f.Unstage(t.Context(), shared, f.dir), nil)
	wantError(t, f.Stage(t.Context(), f.spec()), nil)
	renew(newer("4"), nil, 6) // another engine
}

func TestADeadMountIsReplacedAndCounted(t *testing.T) {
	f := newFixture(t)
	m := NewMonitor(f.Stager, events.None{})
	deadMount(t, shared, f.dir)
	wantError(t, f.Staged(t.Context(), shared, f.dir), volume.ErrUnavailable)
	wantError(t, m.Look(t.Context()), nil)
	wantError(t, f.Stage(t.Context(), f.spec()), nil)
	wantError(t, f.Staged(t.Context(), shared, f.dir), nil)
	if at, _, err := mountpoint.Find(f.dir); err != nil || at.Stacked != 1 {
		t.Errorf("%+v, %v", at, err)
	}
	t.Run("but not another volume's", func(t *testing.T) {
		f := newFixture(t)
		deadMount(t, other, f.dir)
		wantError(t, f.Stage(t.Context(), f.spec()), volume.ErrExists)
	})
}

func TestAStagingPathThatLostItsMountIsBoundBack(t *testing.T) {
	f := newFixture(t)
	pod := t.TempDir()
	wantError(t, f.Stage(t.Context(), f.spec()), nil)
	wantError(t, mountpoint.Bind(f.dir, pod, false), nil)
	t.Cleanup(func() { _ = unix.Unmount(pod, unix.MNT_DETACH) })
	wantError(t, unix.Unmount(f.dir, 0), nil)
	f.holder.serving = []string{pod}
	wantError(t, f.Stage(t.Context(), f.spec()), nil)
	wantError(t, f.Staged(t.Context(), shared, f.dir), nil)
	if len(f.holder.started) != 1 {
		t.Errorf("%d engines: that of the pod would have been ended", len(f.holder.started))
	}
}

func TestUsageIsWhatTheEngineAnswers(t *testing.T) {
	f := newFixture(t)
	wantError(t, f.Stage(t.Context(), f.spec()), nil)
	u, err := f.Usage(t.Context(), shared, f.dir)
	wantError(t, err, nil)
	// The FUSE of the tests answers for the disk of its directory.
	var st unix.Statfs_t
	wantError(t, unix.Statfs(f.holder.dir, &st), nil)
	if total := int64(st.Blocks) * st.Frsize; u.TotalBytes != total || u.UsedBytes <= 0 || u.UsedBytes > total || u.AvailableBytes <= 0 {
		t.Errorf("got %+v of %d", u, total)
	}
}

func TestHealth(t *testing.T) {
	stage := func(t *testing.T) *fixture {
		f := newFixture(t)
		wantError(t, f.Stage(t.Context(), f.spec()), nil)
		return f
	}
	one := func(t *testing.T, f *fixture, s volume.Severity, reason string, says ...string) {
		t.Helper()
		all, err := f.MountHealth(t.Context(), shared, f.dir)
		if err != nil || len(all) != 1 || all[0].Severity != s || all[0].Reason != reason {
			t.Fatalf("got %+v, %v", all, err)
		}
		for _, text := range says {
			if !strings.Contains(all[0].Message, text) {
				t.Errorf("%q doesn't say %q", all[0].Message, text)
			}
		}
	}
	t.Run("well", func(t *testing.T) {
		f := stage(t)
		f.holder.status = &mountd.Status{}
		if all, err := f.MountHealth(t.Context(), shared, f.dir); err != nil || len(all) != 0 {
			t.Errorf("got %+v, %v", all, err)
		}
	})
	t.Run("not mounted", func(t *testing.T) { one(t, newFixture(t), volume.Inaccessible, "NotMounted") })
	t.Run("another's", func(t *testing.T) {
		f := newFixture(t)
		mountpointtest.TmpFS(t, f.dir)
		one(t, f, volume.Inaccessible, "WrongMount")
	})
	t.Run("dead", func(t *testing.T) {
		f := newFixture(t)
		deadMount(t, shared, f.dir)
		one(t, f, volume.Inaccessible, "MountDead", "strata-coldfs", "killed by a test", "Delete the pods")
	})
	t.Run("what the engine says", func(t *testing.T) {
		for reason, severity := range map[string]volume.Severity{
			control.CredentialRefused: volume.Inaccessible, control.BucketMissing: volume.Inaccessible, control.EndpointUnreachable: volume.Inaccessible,
			control.CacheDiskFull: volume.Degraded, control.CacheDiskError: volume.Degraded, control.QuotaExceeded: volume.Degraded, "OfALaterVersion": volume.Degraded,
		} {
			f := stage(t)
			f.holder.status = &mountd.Status{Conditions: []control.Condition{{Reason: reason, Text: "the words of the engine"}}}
			one(t, f, severity, reason, "the words of the engine")
		}
	})
	t.Run("an engine of an earlier holder", func(t *testing.T) {
		f := stage(t)
		f.holder.status = &mountd.Status{Detached: true}
		one(t, f, volume.Degraded, ReasonEngineDetached, "new credentials")
		f.holder.status = nil
		one(t, f, volume.Degraded, ReasonEngineDetached)
	})
	t.Run("no holder", func(t *testing.T) {
		f := stage(t)
		f.holder.unheard = fmt.Errorf("%w: no strata-mountd", volume.ErrUnavailable)
		one(t, f, volume.Degraded, ReasonEngineUnheard, "no strata-mountd")
	})
}

func TestRecognition(t *testing.T) {
	mine := mountpoint.Mount{FSType: "fuse.strata-coldfs", Source: "strata:" + string(shared), Root: "/"}
	change := func(f func(*mountpoint.Mount)) mountpoint.Mount { m := mine; f(&m); return m }
	for name, c := range map[string]struct {
		m                     mountpoint.Mount
		own, client, complete bool
	}{
		"the volume":           {mine, true, true, true},
		"a part of the volume": {change(func(m *mountpoint.Mount) { m.Root = "/sub" }), true, true, false},
		"another volume":       {change(func(m *mountpoint.Mount) { m.Source += "2" }), true, false, false},
		"another engine's":     {change(func(m *mountpoint.Mount) { m.FSType = "fuse.sshfs" }), false, false, false},
		"a warm volume":        {mountpoint.Mount{FSType: "fuse", Source: "strata:warm:a:b:c:d", Root: "/"}, false, false, false},
	} {
		tg, ok := known{}.Target(shared)
		if !ok || tg.Client(c.m) != c.client || tg.Complete(c.m) != c.complete || (known{}).Own(c.m) != c.own {
			t.Errorf("%s: client %v, complete %v, own %v", name, tg.Client(c.m), tg.Complete(c.m), known{}.Own(c.m))
		}
	}
	for _, id := range []volume.ID{"warm:a:b:c:d", "cold", ""} {
		if _, ok := (known{}).Target(id); ok {
			t.Errorf("%q is taken for a cold volume", id)
		}
	}
}

func TestNothingHoldsTheSecretAfterUse(t *testing.T) {
	var log bytes.Buffer
	ctx := klog.NewContext(t.Context(), textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(10), textlogger.Output(&log))))
	f := newFixture(t)
	deadMount(t, shared, f.dir)
	spec := f.spec()
	wantError(t, f.Stage(ctx, spec), nil) // replaces a dead mount
	f.holder.renewal = volume.ErrNotFound
	wantError(t, f.Stage(ctx, spec), nil)
	if !bytes.Equal(f.holder.kept[0], make([]byte, len(f.holder.kept[0]))) {
		t.Errorf("left %q", f.holder.kept[0])
	}
	if spec.Secrets[secret.KeySecretAccessKey] != testSecret {
		t.Error("the caller's secrets were changed: a repeated call would have none")
	}
	_, who, err := credentialOf(secrets())
	wantError(t, err, nil)
	klog.FromContext(ctx).V(10).Info("printed", "credential", who, "pointer", &who, "text", fmt.Sprintf("%v %+v %#v %s", who, who, &who, who))
	if log.Len() == 0 || strings.Contains(log.String(), testSecret) {
		t.Errorf("the log has the secret, or nothing:\n%s", log.String())
	}
}

func TestUnstageLeavesWhatIsAnothers(t *testing.T) {
	f := newFixture(t)
	wantError(t, f.Stage(t.Context(), f.spec()), nil)
	wantError(t, f.Unstage(t.Context(), other, f.dir), volume.ErrPrecondition)
	wantError(t, f.Staged(t.Context(), shared, f.dir), nil)
	file, err := os.Open(filepath.Clean(f.dir))
	wantError(t, err, nil)
	defer file.Close()
	wantError(t, f.Unstage(t.Context(), shared, f.dir), volume.ErrUnavailable)
	if len(f.holder.ended) != 0 {
		t.Error("the holder was told that it is unmounted")
	}
}
