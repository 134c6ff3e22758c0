package volume

import (
	"errors"
	"strings"
	"testing"
)

func TestIDs(t *testing.T) {
	for id, parts := range map[string]string{
		"warm:dev:fs:dev.red:pvc-1":        "dev fs dev.red pvc-1",
		"warm:a":                           "a",
		"scratch:n1:_x.Y-z":                "n1 _x.Y-z",
		"cold:" + strings.Repeat("x", 123): strings.Repeat("x", 123),
	} {
		got, err := ParseID(id)
		if err != nil || strings.Join(got.Parts(), " ") != parts {
			t.Errorf("%s: %v, %v", id, got.Parts(), err)
		}
		again, err := NewID(got.Tier(), got.Parts()...)
		if err != nil || again != got {
			t.Errorf("%s: made again: %s, %v", id, again, err)
		}
		if _, err := ParseSnapshotID(id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{
		"", "warm", "warm:", ":a", "hot:a", "WARM:a", "warm::a", "warm:a:", "warm:.", "warm:..", "warm:../x", "warm:a/b", "warm:-a", "warm:a b",
		"warm:ü", "warm:a\n", "warm:a\x00", "../", strings.Repeat("x", 1<<20), "cold:" + strings.Repeat("x", 124),
	} {
		if got, err := ParseID(id); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.40q: got %v, %v", id, got.Parts(), err)
		}
	}
	if _, err := NewID(Warm, "a:b"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a part with a separator: %v", err)
	}
	_, err := NewID(Warm, strings.Repeat("c", 36), strings.Repeat("g", 90), "name")
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "(90)") {
		t.Errorf("parts that don't fit: %v", err)
	}
}

func TestTiers(t *testing.T) {
	for _, name := range []string{"warm", "cold", "scratch"} {
		if got, err := ParseTier(name); err != nil || string(got) != name {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "Warm", "warm ", "hot"} {
		_, err := ParseTier(name)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "warm, cold, scratch") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestCapacityRange(t *testing.T) {
	for _, tt := range []struct {
		r      CapacityRange
		err    error
		size   int64
		allows bool
	}{
		{CapacityRange{}, nil, 0, true},
		{CapacityRange{Required: 5}, nil, 5, true},
		{CapacityRange{Required: 5}, nil, 4, false},
		{CapacityRange{Required: 5, Limit: 6}, nil, 6, true},
		{CapacityRange{Required: 5, Limit: 6}, nil, 7, false},
		{CapacityRange{Required: 7, Limit: 6}, ErrOutOfRange, 6, false},
		{CapacityRange{Required: -1}, ErrInvalid, 0, true},
		{CapacityRange{Limit: -1}, ErrInvalid, 0, false},
	} {
		if err := tt.r.Check(); !errors.Is(err, tt.err) {
			t.Errorf("%+v: %v, want %v", tt.r, err, tt.err)
		}
		if got := tt.r.Allows(tt.size); got != tt.allows {
			t.Errorf("%+v allows %d: %v", tt.r, tt.size, got)
		}
	}
}
