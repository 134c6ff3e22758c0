package librados

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Monitors: []string{"127.0.0.1:3300"}, User: "admin", Key: "QUJD"}
	if err := good.Validate(); err != nil {
		t.Fatalf("good options: %v", err)
	}
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no monitor":        {func(o *Options) { o.Monitors = nil }, "no monitor"},
		"empty monitor":     {func(o *Options) { o.Monitors = []string{" "} }, "empty"},
		"no user":           {func(o *Options) { o.User = "" }, "user"},
		"user with type":    {func(o *Options) { o.User = "client.admin" }, "client.admin"},
		"no key":            {func(o *Options) { o.Key = "" }, "key"},
		"timeout too short": {func(o *Options) { o.Timeouts.OSD = time.Millisecond }, "1ms"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			tc.change(&o)
			if err := o.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Validate = %v, want something about %q", err, tc.want)
			}
		})
	}
}

func TestKeyFileHoldsTheBareKey(t *testing.T) {
	const key = "AQABAAAAAAAAABAAbm90IGEgcmVhbCBrZXkhIQ==" // of "not a real key!!"
	dir := t.TempDir()
	for name, tc := range map[string]struct{ content, want string }{
		"bare":    {key, key},
		"newline": {key + "\n", key},
		"empty":   {"\n", ""},
		"keyring": {"[client.admin]\n\tkey = " + key + "\n", ""},
		"cut off": {key[:len(key)-4], ""},
		"longer":  {key[:len(key)-1] + "AAAA", ""},
		"text":    {"secret", ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Options{User: "x", KeyFile: file}.key()
			if got != tc.want || (err != nil) != (tc.want == "") {
				t.Errorf("key = %q, %v; want %q", got, err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), strings.TrimSpace(tc.content)) && strings.TrimSpace(tc.content) != "" {
				t.Errorf("the error tells the key: %v", err)
			}
		})
	}
	if _, err := (Options{User: "x", Key: "secret"}).key(); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("key that isn't one: %v", err)
	}
	if _, err := (Options{User: "x", KeyFile: filepath.Join(dir, "none")}).key(); err == nil {
		t.Error("a missing key file is no error")
	}
}

func TestCommandDescriptionHidesWhatMayBeSecret(t *testing.T) {
	got := describe("mgr", map[string]any{"prefix": "fs subvolume create", "vol_name": "warm", "sub_name": "v1", "size": 5, "key": "SECRET", "value": "SECRET"})
	if want := "mgr fs subvolume create vol_name=warm sub_name=v1"; got != want {
		t.Errorf("describe = %q, want %q", got, want)
	}
}

func TestStatusTextIsTheLastLineOfAStack(t *testing.T) {
	for status, want := range map[string]string{
		"":                             "",
		"subvolume 'x' does not exist": "subvolume 'x' does not exist",
		"Traceback (most):\n  File x\nKeyError: 'sub_name'\n": "KeyError: 'sub_name'",
	} {
		if got := words(status); got != want {
			t.Errorf("words(%q) = %q, want %q", status, got, want)
		}
	}
}

func TestDialRefusesBadOptions(t *testing.T) {
	if _, err := Dial(context.Background(), Options{}); err == nil {
		t.Error("Dial without options is no error")
	}
}
