package client

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/strata-csi/strata/pkg/volume"
)

func TestTheKeyIsOverwrittenAfterUse(t *testing.T) {
	for name, fail := range map[string]error{"mounted": nil, "refused": volume.ErrDenied} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.fuse.fail = fail
			spec := f.spec()
			wantError(t, f.Stage(t.Context(), spec), fail)
			if f.fuse.keys[0] != testKey || !bytes.Equal(f.fuse.kept[0], make([]byte, len(testKey))) {
				t.Errorf("used %q, left %q", f.fuse.keys[0], f.fuse.kept[0])
			}
			if spec.Secrets[SecretKey] != testKey {
				t.Error("the caller's secrets were changed: a repeated call would have none")
			}
		})
	}
}

func TestNoLogHoldsTheKey(t *testing.T) {
	var log bytes.Buffer
	ctx := klog.NewContext(t.Context(), textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(10), textlogger.Output(&log))))
	f := newFixture(t)
	fuseMount(t, writable, f.dir, true)
	wantError(t, f.Stage(ctx, f.spec()), nil) // replaces a dead mount
	wantError(t, f.Unstage(ctx, writable, f.dir), nil)
	f.fuse.fail = fmt.Errorf("%w: no", volume.ErrDenied)
	wantError(t, f.Stage(ctx, f.spec()), volume.ErrDenied)
	who, err := credentialOf(secrets())
	wantError(t, err, nil)
	klog.FromContext(ctx).V(10).Info("printed", "credential", who, "pointer", &who, "text", fmt.Sprintf("%v %+v %#v %s", who, who, &who, who))
	if log.Len() == 0 || strings.Contains(log.String(), testKey) {
		t.Errorf("the log has the key, or nothing:\n%s", log.String())
	}
}
