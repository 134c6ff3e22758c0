package sides

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/hack/stack"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// answering is a node that answers so, in turns, and the last for ever.
type answering struct {
	csi.NodeClient
	codes []codes.Code
	asked int
}

func (a *answering) NodeUnpublishVolume(context.Context, *csi.NodeUnpublishVolumeRequest, ...grpc.CallOption) (*csi.NodeUnpublishVolumeResponse, error) {
	code := a.codes[min(a.asked, len(a.codes)-1)]
	a.asked++
	return nil, status.Error(code, "")
}

func TestCallsAreRepeatedAsKubeletDoes(t *testing.T) {
	for name, tt := range map[string]struct {
		answers  []codes.Code
		want     codes.Code
		repeated int64
	}{
		"at once":         {[]codes.Code{codes.OK}, codes.OK, 0},
		"at last":         {[]codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.OK}, codes.OK, 2},
		"another failure": {[]codes.Code{codes.Unavailable, codes.Internal}, codes.Internal, 1},
		"never":           {[]codes.Code{codes.Unavailable}, codes.Unavailable, mostRepeats},
	} {
		t.Run(name, func(t *testing.T) {
			d := &Driver{Node: &stack.ScratchNode{Node: &stack.Node{NodeClient: &answering{codes: tt.answers}}}}
			if err := d.Unpublish(t.Context(), 0); status.Code(err) != tt.want || d.Repeated.Load() != tt.repeated {
				t.Errorf("%v after %d repeats", err, d.Repeated.Load())
			}
		})
	}
}

func TestRecordsLeaveNone(t *testing.T) {
	dir := t.TempDir()
	r, err := NewRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	records := func() (n int) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".json") {
				n++
			}
		}
		return n
	}
	for i := range 3 {
		if err := r.Publish(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	made := records()
	for i := range 3 {
		if err := r.Unpublish(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if left := records(); made != 3 || left != 0 {
		t.Errorf("%d records were made and %d are left", made, left)
	}
}

func TestASideThatIsntThereIsRefused(t *testing.T) {
	for _, o := range []Order{{Kind: disk.LVM, Side: "other"}, {Kind: disk.Loop, Side: SideBare}} {
		if _, err := o.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no side") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
