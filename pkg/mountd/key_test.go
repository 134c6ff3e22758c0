package mountd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOwnKeyCopiesKeysAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		content, want string
		err           error
	}{
		"a key":             {"AQBGtVBnAAAAABAAkey/+Q==", "AQBGtVBnAAAAABAAkey/+Q==", nil},
		"with a line end":   {"AQBGtVBnAAAAABAAkey/+Q==\n", "AQBGtVBnAAAAABAAkey/+Q==", nil},
		"nothing":           {"", "", ErrInvalid},
		"a keyring":         {"[client.x]\n\tkey = AQBGtVBnAAAAABAA==\n", "", ErrInvalid},
		"more than fits":    {strings.Repeat("A", maxSecret+1), "", ErrInvalid},
		"two keys":          {"AAAA\nBBBB", "", ErrInvalid},
		"as much as it may": {strings.Repeat("A", maxSecret), strings.Repeat("A", maxSecret), nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			from, err := os.Open(path) // only for reading: it is the caller's to empty
			if err != nil {
				t.Fatal(err)
			}
			defer from.Close()
			own, err := ownSecret(from, new(cephFuse).secret)
			if !errors.Is(err, c.err) || (err != nil) != (c.err != nil) {
				t.Fatalf("err = %v", err)
			}
			if err != nil {
				if len(c.content) > 8 && strings.Contains(err.Error(), "AQBG") {
					t.Errorf("the error tells the key: %v", err)
				}
				return
			}
			defer own.Close()
			if err := own.Truncate(int64(len(c.want))); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(c.want))
			if _, err := own.ReadAt(got, 0); err != nil || string(got) != c.want {
				t.Errorf("got %q, %v", got, err)
			}
			if still, err := os.ReadFile(path); err != nil || string(still) != c.content {
				t.Errorf("the caller's file was changed: %q, %v", still, err)
			}
		})
	}
	t.Run("a pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		defer r.Close()
		if _, err := ownSecret(r, new(cephFuse).secret); !errors.Is(err, ErrInvalid) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestTailTellsNoKey(t *testing.T) {
	dir := t.TempDir()
	const key = "AQBGtVBnAAAAABAAIk5Wcm9uZ0tleVdyb25nS2V5WA=="
	if err := os.WriteFile(logPath(dir, "/m"), []byte("first\nkey="+key+" of client.x, path /volumes/g/0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := tail(dir, "/m")
	if strings.Contains(got, "AQBG") || !strings.Contains(got, "key=[redacted] of client.x, path /volumes/g/0123456789abcdef0123456789abcdef") {
		t.Errorf("got %q", got)
	}
}
