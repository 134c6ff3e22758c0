package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/hack/stack"
)

const (
	mib        = int64(1) << 20
	gib        = int64(1) << 30
	volumeSize = 2 * gib
	dataSize   = 256 * mib
)

// demo is one run.
type demo struct {
	*stack.Stack
	rows [][2]string
}

// did keeps a line for the table and shows it.
func (d *demo) did(what, format string, args ...any) {
	result := fmt.Sprintf(format, args...)
	d.Step("%s: %s", what, result)
	d.rows = append(d.rows, [2]string{what, result})
}

func (d *demo) up(ctx context.Context) error {
	for _, s := range []func(context.Context) error{d.start, d.share, d.inside, d.snapshots, d.survive, d.remove, d.cold, d.scratch} {
		if err := s(ctx); err != nil {
			return err
		}
	}
	return nil
}

// create makes a volume of team vision.
func (d *demo) create(ctx context.Context, name string, size int64, mode csi.VolumeCapability_AccessMode_Mode, from string) (*csi.Volume, error) {
	resp, err := d.Controller.CreateVolume(ctx, stack.Request(name, "vision", size, mode, from))
	return resp.GetVolume(), err
}

// write writes random data and makes it durable; read reads it back. Both return its checksum and the rate in MB/s.
func write(path string, size int64) (string, float64, error) {
	block := make([]byte, 4*mib)
	f, err := os.Create(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum, start, idle := sha256.New(), time.Now(), time.Duration(0)
	for done := int64(0); done < size; done += int64(len(block)) {
		pause := time.Now()
		rand.Read(block)
		sum.Write(block)
		idle += time.Since(pause)
		if _, err := f.Write(block); err != nil {
			return "", 0, err
		}
	}
	if err := f.Sync(); err != nil {
		return "", 0, err
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), rate(size, time.Since(start)-idle), nil
}

func read(path string) (string, float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum, start := sha256.New(), time.Now()
	n, err := io.CopyBuffer(sum, f, make([]byte, 4*mib))
	return fmt.Sprintf("%x", sum.Sum(nil)), rate(n, time.Since(start)), err
}

func rate(bytes int64, took time.Duration) float64 { return float64(bytes) / 1e6 / took.Seconds() }

func quota(path string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err.Error()
	}
	total := int64(st.Blocks) * st.Bsize
	return fmt.Sprintf("df shows %d MiB in all, %d MiB used", total/mib, (total-int64(st.Bfree)*st.Bsize)/mib)
}

// usage asks Ceph where a volume's objects are.
func (d *demo) usage(v *csi.Volume) (pool, namespace string, objects int, used int64, err error) {
	parts := strings.Split(v.GetVolumeId(), ":") // warm:CLUSTER:FS:GROUP:NAME
	raw, err := d.Tool("ceph", "fs", "subvolume", "info", parts[2], parts[4], "--group_name", parts[3], "--format", "json")
	if err != nil {
		return "", "", 0, 0, err
	}
	var info struct {
		Pool      string `json:"data_pool"`
		Namespace string `json:"pool_namespace"`
		Used      int64  `json:"bytes_used"`
	}
	if err := json.Unmarshal([]byte(raw), &info); err != nil {
		return "", "", 0, 0, err
	}
	list, err := d.Tool("rados", "--pool", info.Pool, "--namespace", info.Namespace, "ls")
	return info.Pool, info.Namespace, len(strings.Fields(list)), info.Used, err
}
