package monitoring

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
)

const (
	ops     = `csi_plugin_operations_seconds_count{driver_name="csi.strata.dev",instance="n1",`
	create  = ops + `method_name="/csi.v1.Controller/CreateVolume",`
	publish = ops + `method_name="/csi.v1.Node/NodePublishVolume",`
	unstage = ops + `method_name="/csi.v1.Node/NodeUnstageVolume",`
)

// cases are, for each alert, series with which it fires, and series with which it doesn't: one sample a minute for an hour, in
// promtool's notation.
var cases = map[string]struct{ fires, quiet []string }{
	"StrataControllerAbsent": {
		[]string{`strata_calls_in_flight{method_name="/csi.v1.Node/NodeStageVolume"} 0x60`},
		[]string{`strata_calls_in_flight{method_name="/csi.v1.Controller/CreateVolume"} 0x60`},
	},
	"StrataTargetDown": {[]string{`up{job="strata-node-metrics"} 0x60`}, []string{`up{job="strata-node-metrics"} 1x60`, `up{job="other"} 0x60`}},
	"StrataInternalErrors": {
		[]string{create + `grpc_status_code="Internal"} 0x50 1x10`},
		[]string{create + `grpc_status_code="Internal"} 3x60`, create + `grpc_status_code="Aborted"} 0+5x60`},
	},
	"StrataCallsFail": {
		[]string{create + `grpc_status_code="OK"} 0+6x60`, create + `grpc_status_code="Unavailable"} 0+2x60`},
		[]string{create + `grpc_status_code="OK"} 0+9x60`, create + `grpc_status_code="Unavailable"} 0+1x60`, create + `grpc_status_code="Aborted"} 0+50x60`},
	},
	"StrataStuckCalls": {[]string{`strata_stuck_calls{method_name="m"} 1x60`}, []string{`strata_stuck_calls{method_name="m"} 0x60`}},
	"StrataPodsWaitForRoom": {
		[]string{publish + `grpc_status_code="ResourceExhausted"} 0+1x60`},
		[]string{publish + `grpc_status_code="ResourceExhausted"} 7x60`, create + `grpc_status_code="ResourceExhausted"} 0+1x60`},
	},
	"StrataPodsCannotEnd": {
		[]string{unstage + `grpc_status_code="Internal"} 0+1x60`},
		[]string{unstage + `grpc_status_code="OK"} 0+9x60`, unstage + `grpc_status_code="Unavailable"} 0x50 1x10`},
	},
	"StrataMountDead": {
		[]string{`strata_mounts{tier="warm",state="dead"} 1x60`},
		[]string{`strata_mounts{tier="warm",state="dead"} 0x60`, `strata_mounts{tier="warm",state="live"} 9x60`},
	},
	"StrataMountSilent": {
		[]string{`strata_mounts{tier="warm",state="silent"} 1x60`},
		[]string{`strata_mounts{tier="warm",state="silent"} 0x60`, `strata_mounts{tier="warm",state="dead"} 1x60`},
	},
	"StrataMountProbesExhausted": {
		[]string{`strata_mount_probes_hung 32x60`, `strata_mount_probes_limit 64x60`},
		[]string{`strata_mount_probes_hung 31x60`, `strata_mount_probes_limit 64x60`},
	},
	"StrataFuseClientsDie":            {[]string{`strata_fuse_clients_died_total 2x50 3x10`}, []string{`strata_fuse_clients_died_total 3x60`}},
	"StrataColdFilesLost":             {[]string{`strata_cold_lost_files_total 2x50 3x10`}, []string{`strata_cold_lost_files_total 3x60`}},
	"StrataColdVolumesUnhealthy":      {[]string{`strata_cold_conditions 1x60`}, []string{`strata_cold_conditions 0x60`}},
	"StrataColdCredentialsNotRenewed": {[]string{`strata_cold_credentials_failing 1x60`}, []string{`strata_cold_credentials_failing 0x60`}},
	"StrataColdEnginesDie":            {[]string{`strata_cold_engines_died_total 2x50 3x10`}, []string{`strata_cold_engines_died_total 3x60`}},
	"StrataColdCacheCorrupt":          {[]string{`strata_cold_cache_corrupt_total 2x50 3x10`}, []string{`strata_cold_cache_corrupt_total 3x60`}},
	"StrataClusterConfigRefused":      {[]string{`strata_cluster_config_last_reload_successful 0x60`}, []string{`strata_cluster_config_last_reload_successful 1x60`}},
	"StrataScratchDiskUnusable":       {[]string{`strata_scratch_disk_usable{disk="/a"} 0x60`}, []string{`strata_scratch_disk_usable{disk="/a"} 1x60`}},
	"StrataScratchVolumesUnhealthy": {
		[]string{`strata_scratch_unhealthy_volumes{disk="/a"} 1x60`}, []string{`strata_scratch_unhealthy_volumes{disk="/a"} 0x60`},
	},
	"StrataScratchOrphans": {[]string{`strata_scratch_orphans 1x60`}, []string{`strata_scratch_orphans 0x60`}},
	"StrataScratchFull": {
		[]string{`strata_scratch_largest_volume_bytes{class="c"} 16000000x60`}, []string{`strata_scratch_largest_volume_bytes{class="c"} 16777216x60`},
	},
	"StrataLookStale": {
		[]string{`strata_look_last_success_timestamp_seconds{look="scratch"} 60x60`, `strata_look_interval_seconds{look="scratch"} 60x60`},
		[]string{`strata_look_last_success_timestamp_seconds{look="scratch"} 0+60x60`, `strata_look_interval_seconds{look="scratch"} 60x60`},
	},
	"StrataTeamNearlyFull": {
		[]string{`strata_volume_used_bytes{tier="warm",team="t",pool="p"} 96x60`, `strata_volume_bytes{tier="warm",team="t",pool="p"} 100x60`},
		[]string{
			`strata_volume_used_bytes{tier="warm",team="t",pool="p"} 90x60`, `strata_volume_bytes{tier="warm",team="t",pool="p"} 100x60`,
			// Of volumes that are served from snapshots.
			`strata_volume_used_bytes{tier="warm",team="t",pool=""} 0x60`, `strata_volume_bytes{tier="warm",team="t",pool=""} 0x60`,
		},
	},
}

func TestEveryRuleFiresWhenItShould(t *testing.T) {
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	seen := map[string]bool{}
	for _, r := range rules(t) {
		seen[r.Alert] = true
		c, ok := cases[r.Alert]
		if !ok {
			t.Errorf("no series for %s", r.Alert)
			continue
		}
		t.Run(r.Alert, func(t *testing.T) {
			for _, s := range []struct {
				series []string
				fires  bool
			}{{c.fires, true}, {c.quiet, false}} {
				storage := promqltest.LoadedStorage(t, "load 1m\n  "+strings.Join(s.series, "\n  "))
				query, err := engine.NewInstantQuery(t.Context(), storage, nil, r.Expr, time.Unix(0, 0).Add(time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				result := query.Exec(t.Context())
				v, ok := result.Value.(promql.Vector)
				if result.Err != nil || !ok {
					t.Fatalf("%v: %v", result.Value, result.Err)
				}
				if fires := len(v) > 0; fires != s.fires {
					t.Errorf("fires: %v, with\n%s\nand gives %v", fires, strings.Join(s.series, "\n"), v)
				}
				query.Close()
			}
		})
	}
	for name := range cases {
		if !seen[name] {
			t.Errorf("series for %s, which is no rule", name)
		}
	}
}
