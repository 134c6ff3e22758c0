package tiertest

import (
	"testing"

	"github.com/strata-csi/strata/pkg/tier"
)

func TestStagerConforms(t *testing.T) {
	Conform(t, Subject{
		Stager: New(), Volume: "warm:a", Other: "warm:b", Secrets: map[string]string{"token": "t"},
		BadContext: map[string]string{"colour": "red"}, SecretsMissing: true,
	})
}

func TestLocalConforms(t *testing.T) {
	l := NewLocal(t.TempDir())
	t.Run("files", func(t *testing.T) {
		Conform(t, Subject{Stager: l, Volume: "scratch:a", Other: "scratch:b", BadContext: map[string]string{"colour": "red"}})
	})
	t.Run("block", func(t *testing.T) {
		ConformBlock(t, BlockSubject{Stager: l, Volume: "scratch:a", Context: map[string]string{"size": "2097152"}})
	})
	t.Run("inline", func(t *testing.T) {
		v := tier.InlineSpec{Attributes: map[string]string{"size": "2097152"}, Pod: tier.Pod{Name: "p", Namespace: "n", UID: "u"}}
		ConformInline(t, InlineSubject{
			Publisher: l, Volume: v, BadAttributes: map[string]string{"path": "/"},
		})
	})
	if left, err := l.Volumes(); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}
