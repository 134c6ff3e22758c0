package monitoring

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// mountCold has a holder mount a volume of tier cold, which is used a little, until its engine has told what it counts.
func mountCold(t *testing.T, holder *program, socket, dir string) {
	t.Helper()
	server := s3test.Start(t)
	if err := server.Open(t, server.Endpoint, "volumes", s3.Options{}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine, err := json.Marshal(config.Config{Volume: "cold:lab:volumes:vol", Store: server.Location("volumes"), Prefix: "vol/", DirMode: 0o755, FileMode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	// The holder has flags for these, and refuses them here.
	var fields map[string]any
	if err := json.Unmarshal(engine, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cacheDir", "cacheLimit", "cacheReserve", "memoryLimit", "passthrough"} {
		delete(fields, name)
	}
	if engine, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	secret, err := json.Marshal(control.Credentials(server.Credentials))
	if err != nil {
		t.Fatal(err)
	}
	client := mountd.Client{Socket: socket}
	if err := client.Start(t.Context(), mountd.Spec{Kind: mountd.KindColdFS, Mountpoint: dir, Source: "strata:cold:lab:volumes:vol", Engine: engine}, secret); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Stop(context.WithoutCancel(t.Context()), dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	holder.await(t, "an engine has told what it counts", func() bool { return holder.scrape(t)["strata_cold_operation_seconds_count"] != nil })
}
