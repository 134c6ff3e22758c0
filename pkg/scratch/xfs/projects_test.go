package xfs

import (
	"errors"
	"testing"

	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestPick(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name  string
		taken []uint32
		used  map[uint32]projectquota.Usage
		want  uint32
	}{
		{"the first", nil, nil, firstProject},
		{"a gap", []uint32{firstProject, firstProject + 2}, nil, firstProject + 1},
		{"another's files", nil, map[uint32]projectquota.Usage{firstProject: {Inodes: 1}}, firstProject + 1},
		{"another's space", nil, map[uint32]projectquota.Usage{firstProject: {Bytes: 512}}, firstProject + 1},
		{"another's limit", []uint32{firstProject + 1}, map[uint32]projectquota.Usage{firstProject: {Limits: projectquota.Limits{Inodes: 9}}}, firstProject + 2},
	} {
		taken := map[uint32]bool{}
		for _, id := range tt.taken {
			taken[id] = true
		}
		got, err := pick(taken, func(id uint32) (projectquota.Usage, error) { return tt.used[id], nil })
		if err != nil || got != tt.want {
			t.Errorf("%s: %d, %v; want %d", tt.name, got, err, tt.want)
		}
	}
	if _, err := pick(nil, func(uint32) (projectquota.Usage, error) { return projectquota.Usage{Bytes: 1}, nil }); !errors.Is(err, volume.ErrExhausted) {
		t.Errorf("all in use: %v", err)
	}
	if _, err := pick(nil, func(uint32) (projectquota.Usage, error) { return projectquota.Usage{}, broken }); !errors.Is(err, broken) {
		t.Errorf("a number nobody can say anything about was taken: %v", err)
	}
}
