package inspect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/strata-csi/strata/pkg/clusters"
)

// NodeUser is a Ceph user with which nodes mount, and the cluster that it is of; "" stands for every one.
type NodeUser struct{ Cluster, Name string }

// Doctor checks every cluster, and the users that nodes mount with. A cluster that can't be reached is a finding, not an error.
func (c *Collector) Doctor(ctx context.Context, users []NodeUser) Doctor {
	d := Doctor{Header: header(KindDoctor), Checks: []Check{}, Clusters: []Cluster{}}
	type finding struct {
		checks  []Check
		cluster *Cluster
	}
	found := make([]finding, len(c.clusters))
	var group errgroup.Group
	for i, cluster := range c.clusters {
		group.Go(func() error {
			found[i].checks, found[i].cluster = c.doctor(ctx, cluster, users)
			return nil
		})
	}
	_ = group.Wait() // none of them has an error
	for _, f := range found {
		d.Checks = append(d.Checks, f.checks...)
		if f.cluster != nil {
			d.Clusters = append(d.Clusters, *f.cluster)
		}
	}
	return d
}

func (c *Collector) doctor(ctx context.Context, cluster clusters.Cluster, users []NodeUser) ([]Check, *Cluster) {
	subject := "cluster " + cluster.ID
	l, end, err := c.reach(ctx, cluster)
	if err != nil {
		return []Check{{Name: "ceph-reachable", Subject: subject, Result: Fail, Found: because(err), Fix: fmt.Sprintf(
			"look from the controller's pod whether %s can be reached, and whether the key of client.%s is the one of `ceph auth get client.%s`",
			strings.Join(cluster.Monitors, ", "), userOf(cluster), userOf(cluster))}}, nil
	}
	defer end()
	var s status
	if err := l.mon(ctx, monStatus, nil, &s); err != nil {
		return []Check{{Name: "ceph-reachable", Subject: subject, Result: Fail, Found: because(err), Fix: "ceph status"}}, nil
	}
	checks := []Check{
		{Name: "ceph-reachable", Subject: subject, Result: OK, Found: fmt.Sprintf("%s answers client.%s", strings.Join(cluster.Monitors, ", "), userOf(cluster))},
		checkVersions(ctx, l, subject),
		s.health(subject),
		s.placementGroups(subject),
	}
	v, err := takeView(ctx, l, cluster)
	if err != nil {
		return append(checks, Check{Name: "ceph-pools", Subject: subject, Result: Unknown, Found: because(err)}), nil
	}
	checks = append(checks, v.CheckPlacement("ceph-pools", subject, "", ""))
	standard, _, _, _ := v.Place("", "")
	f, _ := v.fileSystem(standard)
	checks = append(checks, s.manager(ctx, l, subject, f))

	told := ""
	for _, f := range v.FileSystems {
		t := l.tree(f.Name)
		of := Check{Subject: subject + ", file system " + f.Name}
		if f.Active == 0 && f.Name != standard { // then nobody can say whether it is of any use to us
			continue
		}
		mine, err := uses(ctx, t, f, cluster)
		switch {
		case denied(err) && f.Name != standard:
			continue
		case err != nil && f.Active > 0:
			of.Name, of.Result, of.Found = "ceph-file-system", Fail, because(err)
			of.Fix = fmt.Sprintf("ceph fs status %s; ceph auth get client.%s", f.Name, userOf(cluster))
			checks = append(checks, f.servers(of), of)
			continue
		case f.Name != standard && !mine:
			continue
		}
		checks = append(checks, f.servers(of))
		if f.Active > 0 {
			told = "the monitors and the metadata servers let it do what this check needs"
			checks = append(checks, checkQueue(ctx, t, of))
		}
	}
	lockPool := cluster.LockPool
	if f, ok := v.fileSystem(standard); ok && lockPool == "" && len(f.DataPools) > 0 {
		lockPool = f.DataPools[0]
	}
	checks = append(checks, capabilities(ctx, l, Check{Name: "ceph-capabilities", Subject: subject + ", controller"}, userOf(cluster),
		controllerNeeds, controllerNeeds.standard(cluster.NamePrefix, orWord(standard, "FS"), orWord(lockPool, "LOCK_POOL")), told))
	for _, u := range users {
		if u.Cluster == "" || u.Cluster == cluster.ID {
			checks = append(checks, capabilities(ctx, l, Check{Name: "ceph-capabilities", Subject: subject + ", nodes"}, u.Name,
				nodeNeeds, nodeNeeds.standard(cluster.NamePrefix, orWord(standard, "FS"), ""), "a pod that mounts a volume shows whether it can"))
		}
	}
	return checks, &v
}

// uses says whether this Kubernetes cluster has volumes in the file system.
func uses(ctx context.Context, t tree, f FileSystem, c clusters.Cluster) (bool, error) {
	if f.Active == 0 {
		return false, nil
	}
	groups, err := t.list(ctx, volumesRoot)
	return slices.ContainsFunc(groups, func(g string) bool { return ofPrefix(c.NamePrefix, g) }), err
}

func userOf(c clusters.Cluster) string {
	if c.Credential == nil {
		return ""
	}
	return c.Credential.User
}

func orWord(s, placeholder string) string {
	if s == "" {
		return placeholder
	}
	return s
}

// oldest is the oldest major release that the driver is made for.
const oldest = 16

func checkVersions(ctx context.Context, l looker, subject string) Check {
	check := Check{Name: "ceph-version", Subject: subject}
	var versions map[string]map[string]int
	if err := l.mon(ctx, monVersions, nil, &versions); err != nil {
		check.Result, check.Found = Unknown, because(err)
		return check
	}
	var names []string
	tooOld := false
	for long := range versions["overall"] {
		// ceph version 16.2.15 (618f44...) pacific (stable)
		words := strings.Fields(strings.TrimPrefix(long, "ceph version "))
		if len(words) == 0 {
			continue
		}
		names = append(names, words[0])
		var major int
		if _, err := fmt.Sscanf(words[0], "%d.", &major); err == nil && major < oldest {
			tooOld = true
		}
	}
	names = slices.Compact(sorted(names))
	check.Result, check.Found = OK, strings.Join(names, ", ")
	switch {
	case len(names) == 0:
		check.Result, check.Found = Unknown, "no daemon tells its version"
	case tooOld:
		check.Result, check.Found = Fail, fmt.Sprintf("%s; the driver is made for releases from %d on", check.Found, oldest)
		check.Fix = "upgrade Ceph"
	case len(names) > 1:
		check.Result, check.Found = Warn, "the daemons have different versions: "+check.Found
		check.Fix = "ceph versions; finish the upgrade"
	}
	return check
}

func (s status) health(subject string) Check {
	check := Check{Name: "ceph-health", Subject: subject, Result: OK, Found: s.Health.Status}
	var messages []string
	for _, code := range slices.Sorted(maps.Keys(s.Health.Checks)) {
		if c := s.Health.Checks[code]; !c.Muted {
			messages = append(messages, fmt.Sprintf("%s: %s", code, c.Summary.Message))
		}
	}
	if len(messages) > 0 {
		check.Found += ": " + strings.Join(messages, "; ")
	}
	switch s.Health.Status {
	case "HEALTH_OK":
	case "HEALTH_WARN":
		check.Result, check.Fix = Warn, "ceph health detail"
	default:
		check.Result, check.Fix = Fail, "ceph health detail"
	}
	return check
}

// placementGroups finds those that serve nothing, and those that are short of copies.
func (s status) placementGroups(subject string) Check {
	check := Check{Name: "ceph-placement-groups", Subject: subject, Result: OK, Found: fmt.Sprintf("all %d are active and clean", s.PGs.Total)}
	var down, short []string
	for _, state := range s.PGs.States {
		words := strings.Split(state.Name, "+")
		text := fmt.Sprintf("%d %s", state.Count, state.Name)
		switch {
		case !slices.Contains(words, "active"):
			down = append(down, text)
		case !slices.Contains(words, "clean"):
			short = append(short, text)
		}
	}
	switch {
	case len(down) > 0:
		check.Result, check.Fix = Fail, "ceph health detail; ceph osd tree: start the OSDs that are down"
		check.Found = fmt.Sprintf("of %d, these answer nothing, and I/O to them waits: %s", s.PGs.Total, strings.Join(append(down, short...), ", "))
	case len(short) > 0:
		check.Result, check.Fix = Warn, "ceph health detail; Ceph rebuilds by itself while enough OSDs are up"
		check.Found = fmt.Sprintf("of %d, these are short of copies or being moved: %s", s.PGs.Total, strings.Join(short, ", "))
	case s.PGs.Total == 0:
		check.Result, check.Found = Unknown, "the cluster doesn't say how its placement groups are"
	}
	return check
}

// manager asks the manager for something: all of CreateVolume, DeleteVolume and the snapshots goes through it.
func (s status) manager(ctx context.Context, l looker, subject string, f FileSystem) Check {
	check := Check{Name: "ceph-manager", Subject: subject, Fix: "ceph mgr stat; ceph mgr module ls"}
	if !s.Manager.Available {
		check.Result, check.Found = Fail, "no manager is active: volumes and snapshots can neither be made nor removed"
		return check
	}
	if f.Active == 0 { // it would wait for a metadata server
		check.Result, check.Found, check.Fix = Unknown, "it is active, and there is no file system at work to ask it about", ""
		return check
	}
	var groups []struct {
		Name string `json:"name"`
	}
	err := l.mgr(ctx, mgrGroups, map[string]any{"vol_name": f.Name}, &groups)
	switch {
	case denied(err):
		check.Result, check.Found = Fail, because(err)
		check.Fix = "ceph auth caps: the controller's user lacks a capability of mgr; docs/security.md has all it needs"
	case errors.Is(err, context.Canceled):
		check.Result, check.Found = Unknown, because(err)
	case err != nil:
		check.Result, check.Found = Fail, "the volumes module doesn't answer: "+because(err)
	default:
		check.Result, check.Found, check.Fix = OK, fmt.Sprintf("the volumes module answers; %d standby", s.Manager.Standbys), ""
	}
	return check
}

// servers checks the metadata servers of a file system.
func (f FileSystem) servers(check Check) Check {
	check.Name = "ceph-mds"
	check.Fix = fmt.Sprintf("ceph fs status %s; start another ceph-mds", f.Name)
	switch {
	case f.Broken > 0:
		check.Result, check.Found = Fail, fmt.Sprintf("%d ranks have failed or are damaged", f.Broken)
		check.Fix = fmt.Sprintf("ceph fs status %s; ceph health detail", f.Name)
	case f.Active == 0:
		check.Result, check.Found = Fail, "no metadata server is active: all reads and writes wait"
	case f.Active < f.Wanted:
		check.Result, check.Found = Warn, fmt.Sprintf("%d of %d metadata servers are active", f.Active, f.Wanted)
	case f.Standby == 0:
		check.Result, check.Found = Warn, fmt.Sprintf("%d active and no standby: when it dies, all I/O waits until it is back", f.Active)
	default:
		check.Result, check.Found, check.Fix = OK, fmt.Sprintf("%d active, %d standby", f.Active, f.Standby), ""
	}
	return check
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }
