package lvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The names of lvmreport(7).
const (
	groupFields  = "vg_name,vg_extent_size,vg_permissions,pv_name,pv_pe_count,pv_pe_alloc_count,pv_allocatable,pv_missing"
	volumeFields = "lv_name,lv_size,lv_tags,lv_active,lv_device_open,lv_health_status"
	segmentField = "lv_name,stripes,seg_pe_ranges"
)

// group is the volume group.
type group struct {
	extent   int64 // bytes
	readOnly bool
	disks    []physical
}

// physical is one physical volume.
type physical struct {
	name        string
	free, total int64 // extents
	usable      bool
	missing     bool
}

// free is what can be given out, extents.
func (g group) free() (n int64) {
	for _, p := range g.disks {
		if p.usable {
			n += p.free
		}
	}
	return n
}

// logical is one logical volume of ours.
type logical struct {
	name   string // as LVM calls it
	size   int64  // bytes
	is     string // ext4, xfs, block, or "" when it isn't whole
	active bool
	open   bool
	health string // lv_health_status: "" or, when a disk is missing, "partial"
}

// rows asks for a report and returns its rows.
func (d *Disk) rows(ctx context.Context, command, fields string, args ...string) ([]map[string]string, error) {
	all := append([]string{"--reportformat", "json", "--units", "b", "--nosuffix", "--binary", "-o", fields}, args...)
	out, err := d.lvm.run(ctx, command, all...)
	if err != nil {
		return nil, err
	}
	rows, err := parse(out)
	if err != nil {
		return nil, fmt.Errorf("lvm %s: %w", command, err)
	}
	return rows, nil
}

// parse reads {"report": [{"vg": [{"field": "value"}]}]}; what the inner list is called depends on the fields.
func parse(out []byte) ([]map[string]string, error) {
	var r struct {
		Report []map[string][]map[string]string `json:"report"`
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, fmt.Errorf("its report can't be read: %w", err)
	}
	if len(r.Report) == 0 {
		return nil, errors.New("its report is empty")
	}
	var rows []map[string]string
	for _, report := range r.Report {
		for _, list := range report {
			rows = append(rows, list...)
		}
	}
	return rows, nil
}

// number reads a field; a field without a value is -1.
func number(row map[string]string, field string) (int64, error) {
	text, ok := row[field]
	if !ok {
		return 0, fmt.Errorf("the report has no field %s", field)
	}
	if text == "" {
		return -1, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("field %s of the report: %w", field, err)
	}
	return n, nil
}

// group reads the volume group as it is now.
func (d *Disk) group(ctx context.Context) (group, error) {
	rows, err := d.rows(ctx, "vgs", groupFields, d.vg)
	if err != nil {
		return group{}, err
	}
	return groupOf(rows)
}

func groupOf(rows []map[string]string) (g group, err error) {
	for _, row := range rows {
		var n [4]int64
		for i, f := range []string{"vg_extent_size", "pv_pe_count", "pv_pe_alloc_count", "pv_allocatable"} {
			if n[i], err = number(row, f); err != nil {
				return g, err
			}
		}
		g.extent = n[0]
		// With --binary a true field is 1; older releases write words in some.
		g.readOnly = strings.HasPrefix(row["vg_permissions"], "read-only")
		missing := row["pv_missing"] == "1" || row["pv_missing"] == "missing"
		g.disks = append(g.disks, physical{
			name: row["pv_name"], total: n[1], free: n[1] - n[2], missing: missing, usable: n[3] == 1 && !missing && n[1] > 0,
		})
	}
	if g.extent <= 0 || len(g.disks) == 0 {
		return g, errors.New("the report names no physical volume")
	}
	return g, nil
}

// volumes reads all logical volumes of ours.
func (d *Disk) volumes(ctx context.Context) ([]logical, error) {
	rows, err := d.rows(ctx, "lvs", volumeFields, d.vg)
	if err != nil {
		return nil, err
	}
	return volumesOf(rows)
}

func volumesOf(rows []map[string]string) ([]logical, error) {
	var all []logical
	for _, row := range rows {
		tags := strings.Split(row["lv_tags"], ",")
		if !strings.HasPrefix(row["lv_name"], prefix) || !slices.Contains(tags, tag) {
			continue
		}
		size, err := number(row, "lv_size")
		if err != nil {
			return nil, err
		}
		l := logical{name: row["lv_name"], size: size, health: row["lv_health_status"]}
		l.active = row["lv_active"] == "1" || row["lv_active"] == "active"
		l.open = row["lv_device_open"] == "1" || row["lv_device_open"] == "open"
		for _, t := range tags {
			if is, ok := strings.CutPrefix(t, isTag); ok {
				l.is = is
			}
		}
		all = append(all, l)
	}
	return all, nil
}

// segments are the stripes of the segments of a logical volume, and the ranges of extents they lie on, as lvextend(8) takes them.
func (d *Disk) segments(ctx context.Context, name string) (stripes []int64, ranges []string, err error) {
	rows, err := d.rows(ctx, "lvs", segmentField, "--segments", d.vg+"/"+name)
	if err != nil {
		return nil, nil, err
	}
	for _, row := range rows {
		n, err := number(row, "stripes")
		if err != nil {
			return nil, nil, err
		}
		stripes = append(stripes, n)
		ranges = append(ranges, strings.Fields(row["seg_pe_ranges"])...)
	}
	return stripes, ranges, nil
}
