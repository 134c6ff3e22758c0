package config

// The file's text to its fields.

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/yamlfile"
)

// What a file that doesn't say gets.
const (
	DefaultReservePercent = 5
	DefaultGrace          = 10 * time.Minute
)

var (
	fileKeys  = []string{"pools", "classes", "maxPerPod", "maxPerNode", "grace"}
	poolKeys  = []string{"name", "disks", "kinds", "reserve"}
	placeKeys = []string{"path", "volumeGroup"}
	classKeys = []string{"name", "pool", "defaultSize", "maxSize", "fsType", "mkfsOptions", "mountOptions", "wipe"}
)

// Load reads and checks the file. The error names every field that is wrong and says what is allowed. Whether the disks are there and
// can be used isn't looked at.
func Load(path string) (Config, error) {
	const what = "scratch configuration"
	text, err := yamlfile.Read(what, path)
	if err != nil {
		return Config{}, err
	}
	var m mistakes
	c := m.decode(text)
	if len(m.Mistakes) == 0 {
		// Only then: a misspelt key is one mistake; that the right one is missing would be reported as another.
		m.check(c)
	}
	if err := m.Err(what + " " + path); err != nil {
		return Config{}, err
	}
	return c, nil
}

type mistakes struct{ yamlfile.Mistakes }

// decode reads the text. Only its shape is checked here: keys, types, and the form of sizes.
func (m *mistakes) decode(text []byte) Config {
	o := m.Object("the file", m.Parse(text), fileKeys)
	c := Config{
		MaxPerPod:  m.size("maxPerPod", o["maxPerPod"]),
		MaxPerNode: m.size("maxPerNode", o["maxPerNode"]),
		Grace:      m.duration("grace", o["grace"]),
	}
	for i, e := range m.List("pools", o["pools"]) {
		c.Pools = append(c.Pools, m.pool(fmt.Sprintf("pools[%d]", i), e))
	}
	for i, e := range m.List("classes", o["classes"]) {
		c.Classes = append(c.Classes, m.class(fmt.Sprintf("classes[%d]", i), e))
	}
	return c
}

func (m *mistakes) pool(field string, v any) Pool {
	o := m.Object(field, v, poolKeys)
	p := Pool{Name: m.Text(field+".name", o["name"]), ReservePercent: m.percent(field+".reserve", o["reserve"])}
	for i, e := range m.List(field+".disks", o["disks"]) {
		field := fmt.Sprintf("%s.disks[%d]", field, i)
		o := m.Object(field, e, placeKeys)
		p.Disks = append(p.Disks, Place{Path: m.Text(field+".path", o["path"]), VolumeGroup: m.Text(field+".volumeGroup", o["volumeGroup"])})
	}
	for _, k := range m.Texts(field+".kinds", o["kinds"]) {
		p.Kinds = append(p.Kinds, disk.Kind(k))
	}
	return p
}

func (m *mistakes) class(field string, v any) Class {
	o := m.Object(field, v, classKeys)
	c := Class{
		Name:         m.Text(field+".name", o["name"]),
		Pool:         m.Text(field+".pool", o["pool"]),
		DefaultSize:  m.size(field+".defaultSize", o["defaultSize"]),
		MaxSize:      m.size(field+".maxSize", o["maxSize"]),
		FSType:       m.Text(field+".fsType", o["fsType"]),
		MkfsOptions:  m.Texts(field+".mkfsOptions", o["mkfsOptions"]),
		MountOptions: m.Texts(field+".mountOptions", o["mountOptions"]),
		Wipe:         disk.Wipe(m.Text(field+".wipe", o["wipe"])),
	}
	if c.Wipe == "" {
		c.Wipe = disk.WipeNone
	}
	return c
}

// size takes text and whole numbers: YAML reads 1073741824 as a number.
func (m *mistakes) size(field string, v any) int64 {
	var s string
	switch v := v.(type) {
	case nil:
		return 0
	case string:
		s = v
	case json.Number:
		s = v.String()
	default:
		m.Add(field, "must be a size such as 100Gi, not %s", yamlfile.Kind(v))
		return 0
	}
	n, err := ParseSize(s)
	if err != nil {
		m.Add(field, "%q %v", s, err)
	}
	return n
}

var percentForm = regexp.MustCompile(`^(0|[1-9][0-9]?)%$`)

const maxReserve = 90

func (m *mistakes) percent(field string, v any) int {
	const allowed = "write a whole percentage of each disk from 0%% to 90%%, such as \"5%%\""
	if v == nil {
		return DefaultReservePercent
	}
	s, ok := v.(string)
	if !ok {
		m.Add(field, "must be text, not %s: "+allowed, yamlfile.Kind(v))
		return 0
	}
	if !percentForm.MatchString(s) {
		m.Add(field, "%q is not a percentage: "+allowed, s)
		return 0
	}
	n, err := strconv.Atoi(s[:len(s)-1])
	if err != nil || n > maxReserve {
		m.Add(field, "%q is too much: "+allowed, s)
	}
	return n
}

func (m *mistakes) duration(field string, v any) time.Duration {
	if v == nil {
		return DefaultGrace
	}
	s, ok := v.(string)
	if !ok {
		m.Add(field, "must be a duration such as 10m, not %s", yamlfile.Kind(v))
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		m.Add(field, "%q is not a duration: write one such as 30s, 10m or 1h30m", s)
	}
	return d
}
