package cephkernel

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		name    string
		options []string
		want    string // part of the error; empty for none
	}{
		{"none", nil, ""},
		{"documented ones", []string{"rasize=16777216", "recover_session=clean", "nowsync", "noatime", "ms_mode=prefer-crc"}, ""},
		{"a location with several parts", []string{"crush_location=host:n1|rack:r2"}, ""},
		{"identity is ours", []string{"name=admin"}, "secret"},
		{"key is ours", []string{"key=x"}, "cannot be set"},
		{"a secret is not repeated in the error", []string{"secret=AQAAhunter2"}, "cannot be set"},
		{"secretfile", []string{"secretfile=/etc/x"}, "cannot be set"},
		{"conf", []string{"conf=/etc/ceph/ceph.conf"}, "cannot be set"},
		{"file system is ours", []string{"mds_namespace=other"}, "cannot be set"},
		{"fs is ours", []string{"fs=other"}, "cannot be set"},
		{"read-only is the request's", []string{"ro"}, "read-only flag"},
		{"snapdirname", []string{"snapdirname=.s"}, ".snap"},
		{"unknown names the allowed", []string{"rsiz=4096"}, "rsize"},
		{"not an integer", []string{"rsize=big"}, "whole number"},
		{"out of range", []string{"mount_timeout=0"}, "from 1 to 600"},
		{"missing value", []string{"wsize"}, "whole number"},
		{"flag with a value", []string{"nowsync=1"}, "takes no value"},
		{"bad choice", []string{"recover_session=maybe"}, "no, clean"},
		{"twice", []string{"rbytes", "rbytes"}, "twice"},
		{"smuggled by a comma", []string{"crush_location=host:a,secret=x"}, "type:name"},
		{"two joined by a comma", []string{"rbytes,name=admin"}, "unknown option"},
		{"empty", []string{""}, "unknown option"},
		{"contradiction", []string{"noatime", "strictatime"}, "exclude"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := ValidateOptions(tc.options)
			if tc.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want ErrInvalid with %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("the error repeats the secret: %v", err)
			}
		})
	}
}

func TestMountFlagsAreNotFileSystemOptions(t *testing.T) {
	p, err := parseOptions([]string{"nosuid", "rbytes", "relatime"})
	if err != nil {
		t.Fatal(err)
	}
	if p.attrs == 0 || !slices.Equal(p.settings, []setting{{name: "rbytes", flag: true}}) {
		t.Fatalf("got %+v", p)
	}
}
