package client

import (
	"fmt"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestTheGroupThatAVolumeIsMountedFor(t *testing.T) {
	number := func(n uint32) *uint32 { return &n }
	closed := map[string]string{"dirMode": "0770", "fileMode": "0660"}
	ofClass := map[string]string{"dirMode": "0770", "fileMode": "0660", "gid": "3000"}
	for _, c := range []struct {
		context   map[string]string
		has, asks *uint32
		refused   bool
	}{
		{nil, nil, number(2000), false}, // everybody may read and write
		{nil, number(1000), number(2000), false},
		{closed, number(2000), number(2000), false},
		{closed, number(2000), nil, false},
		{closed, number(1000), number(2000), true},
		{closed, nil, number(2000), true},
		{ofClass, nil, number(3000), false},
		{ofClass, nil, number(2000), true},
		{ofClass, number(2000), number(3000), true},
		{map[string]string{"fileMode": "0644"}, number(1000), number(2000), true},
	} {
		show := func(n *uint32) string {
			if n == nil {
				return "none"
			}
			return fmt.Sprint(*n)
		}
		t.Run(fmt.Sprint(c.context, " for ", show(c.has), ", asked ", show(c.asks)), func(t *testing.T) {
			f := newFixture(t)
			spec := f.spec()
			for k, v := range c.context {
				spec.Context[k] = v
			}
			spec.Group = c.asks
			wantError(t, f.CheckGroup(spec), map[bool]error{true: volume.ErrUnavailable}[c.asks != nil])
			spec.Group = c.has
			wantError(t, f.Stage(t.Context(), spec), nil)
			var told config.Config
			engineOf(t, f.holder.started[0], &told)
			if show(told.MountGroup) != show(c.has) {
				t.Errorf("the engine is told group %s", show(told.MountGroup))
			}
			spec.Group = c.asks
			err := f.CheckGroup(spec)
			if !c.refused {
				wantError(t, err, nil)
				return
			}
			wantError(t, err, volume.ErrPrecondition)
			if !strings.Contains(err.Error(), "fsGroup is "+show(c.asks)) {
				t.Error(err)
			}
		})
	}
}
