package suggest

import "testing"

func TestNearest(t *testing.T) {
	valid := []string{"clusterID", "fsName", "pool", "mounter", "uid", "gid", "stripeUnit", "stripeCount"}
	for _, c := range []struct{ name, word, want string }{
		{"a letter too many", "poool", "pool"},
		{"wrong case", "FSNAME", "fsName"},
		{"two letters changed places", "monuter", "mounter"},
		{"the beginning of a word", "fs", "fsName"},
		{"a word and more", "poolName", "pool"},
		{"the nearer of two", "stripeCont", "stripeCount"},
		{"the first of two equally near", "xid", "uid"},
		{"nothing like it", "replication", ""},
		{"one letter alone", "p", ""},
		{"empty", "", ""},
		{"not ASCII", "pöol", "pool"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Nearest(c.word, valid); got != c.want {
				t.Errorf("Nearest(%q) = %q, want %q", c.word, got, c.want)
			}
		})
	}
	if got := Nearest("pool", nil); got != "" {
		t.Errorf("Nearest without valid words = %q, want nothing", got)
	}
}

func TestHint(t *testing.T) {
	if got, want := Hint("pol", []string{"pool"}), `, did you mean "pool"?`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Hint("zebra", []string{"pool"}); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}
