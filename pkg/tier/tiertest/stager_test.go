package tiertest

import "testing"

func TestStagerConforms(t *testing.T) {
	Conform(t, Subject{
		Stager: New(), Volume: "warm:a", Other: "warm:b", Secrets: map[string]string{"token": "t"},
		BadContext: map[string]string{"colour": "red"}, SecretsMissing: true,
	})
}
