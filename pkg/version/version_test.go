package version

import (
	"runtime/debug"
	"testing"
)

func TestOf(t *testing.T) {
	commit := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}
	for _, c := range []struct {
		name string
		info debug.BuildInfo
		want string
	}{
		{"installed release", debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3"},
		{"a clean checkout", debug.BuildInfo{Settings: []debug.BuildSetting{commit}}, "devel-0123456789ab"},
		{"a checkout with changes", debug.BuildInfo{Main: debug.Module{Version: "v0.0.0-20260101000000-0123456789ab+dirty"},
			Settings: []debug.BuildSetting{commit, {Key: "vcs.modified", Value: "true"}}}, "devel-0123456789ab-dirty"},
		{"built outside of a checkout", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "devel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := of(&c.info); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if String() == "" {
		t.Error("String is empty")
	}
}
