package tier

import (
	"errors"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/volume"
)

func TestCheckSegment(t *testing.T) {
	for _, good := range []volume.Segment{
		{NodeKey: "n1"},
		{NodeKey: "ip-10-0-0-1.ec2.internal", "csi.strata.dev/scratch-loop": "true"},
		{"zone": "Z_2"},
		{strings.Repeat("p", 63) + "/" + strings.Repeat("n", 63): strings.Repeat("v", 63)},
	} {
		if err := CheckSegment(good); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for name, bad := range map[string]volume.Segment{
		"empty":               {},
		"no name":             {"csi.strata.dev/": "n"},
		"no prefix":           {"/node": "n"},
		"two slashes":         {"a/b/c": "n"},
		"upper-case prefix":   {"CSI/node": "n"},
		"underscore prefix":   {"a_b/node": "n"},
		"long name":           {strings.Repeat("n", 64): "n"},
		"long prefix":         {strings.Repeat("p", 64) + "/n": "n"},
		"name begins with -":  {"-n": "n"},
		"no value":            {NodeKey: ""},
		"long value":          {NodeKey: strings.Repeat("v", 64)},
		"value ends with dot": {NodeKey: "n1."},
		"value with a space":  {NodeKey: "n 1"},
		"value with a colon":  {NodeKey: "n:1"},
		"same key twice":      {"zone": "a", "Zone": "b"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := CheckSegment(bad); !errors.Is(err, volume.ErrInvalid) {
				t.Errorf("got %v", err)
			}
		})
	}
}
