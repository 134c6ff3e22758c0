package secret

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestParse(t *testing.T) {
	got, err := Parse(map[string]string{
		KeyAccessKeyID: "AK\n", KeySecretAccessKey: "sk", KeySessionToken: "st", KeyRegion: "eu", KeyPathStyle: "false", KeyCABundle: "PEM", "other": "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Credentials != (s3.Credentials{AccessKeyID: "AK", SecretAccessKey: "sk", SessionToken: "st"}) || got.Region != "eu" || got.PathStyle == nil || *got.PathStyle || got.CABundle != "PEM" {
		t.Error("read wrongly")
	}
	for _, s := range []string{fmt.Sprint(got), fmt.Sprintf("%+v", got), fmt.Sprintf("%#v", got), fmt.Sprintf("%v", &got)} {
		if strings.Contains(s, "sk") || strings.Contains(s, "AK") {
			t.Errorf("printed as %s", s)
		}
	}
	l := got.Fill(s3.Location{Region: "own"})
	if l.Region != "own" || string(l.CABundle) != "PEM" {
		t.Errorf("filled in: %+v", l)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		data map[string]string
		want string
	}{
		{"nothing", nil, "provisioner-secret-name"},
		{"no id", map[string]string{KeySecretAccessKey: "hush"}, "no accessKeyID"},
		{"no secret", map[string]string{KeyAccessKeyID: "hush", "secret": "hush"}, "no secretAccessKey"},
		{"a wrong word", map[string]string{KeyAccessKeyID: "hush", KeySecretAccessKey: "hush", KeyPathStyle: "hush"}, "neither true nor false"},
	} {
		_, err := Parse(c.data)
		if !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
