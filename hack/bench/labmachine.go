package main

// The emulated machine of part lab: a node with NVMe disks under Debian's kernel.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/hack/bench/sides"
	"github.com/strata-csi/strata/hack/stack"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/tests/kernel/agent"
	"github.com/strata-csi/strata/tests/kernel/lab"
)

// labMemory is what the machine has, MiB: fio, strata-node and their libraries lie in it.
const labMemory = 2048

// labMachine is the machine, with its disks prepared.
type labMachine struct {
	*lab.Machine
	Kernel string
}

// insidePackage is the program that measures there.
const insidePackage = "github.com/strata-csi/strata/hack/bench/inside"

// bootLab boots the machine in dir and prepares its disks: one for the system, an ext4 that the records and the raw file of kind lvm are on too, one
// of a volume group, and an XFS with project quotas.
func bootLab(ctx context.Context, dir, node string) (_ *labMachine, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	program, err := lab.Build(ctx, insidePackage, dir)
	if err != nil {
		return nil, err
	}
	cfg := lab.Config{Dir: dir, Memory: labMemory, Files: map[string]string{"/bin/strata-node": node, "/bin/inside": program}}
	for _, d := range []struct {
		serial string
		size   int64
	}{{"system", 4 * gib}, {"group", 12 * gib}, {"quota", 48 * gib}} {
		made, err := lab.CreateDisk(dir, d.serial, d.size)
		if err != nil {
			return nil, err
		}
		cfg.Disks = append(cfg.Disks, made)
	}
	booted, err := lab.BootNode(ctx, cfg, "fio")
	if err != nil {
		return nil, err
	}
	m := &labMachine{Machine: booted}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Kill())
		}
	}()
	const prepare = `
		mkfs.ext4 -q -F -E nodiscard "$0"; mkdir -p "$3" "$4"; mount -t ext4 -o noatime "$0" "$3"
		lvm pvcreate -q -y "$1"; lvm vgcreate -q "$5" "$1"
		mkfs.xfs -q -f -K "$2"; mount -t xfs -o noatime,prjquota "$2" "$4"`
	args := []string{"sh", "-exc", prepare}
	for _, d := range cfg.Disks {
		device, err := m.Device(ctx, d.Serial)
		if err != nil {
			return nil, err
		}
		args = append(args, device)
	}
	if _, err := m.Run(ctx, append(args, sides.SystemDir, sides.QuotaDir, sides.VolumeGroup)...); err != nil {
		return nil, err
	}
	m.Kernel, err = m.Run(ctx, "uname", "-r")
	return m, err
}

// startNode starts the node of a kind, which has one disk, as ScratchConfig takes it.
func (m *labMachine) startNode(ctx context.Context, kind disk.Kind, where string) error {
	dir := sides.NodeDir(kind)
	if _, err := m.Run(ctx, "mkdir", "-p", filepath.Join(dir, "kubelet", "pods")); err != nil {
		return err
	}
	if err := m.WriteFile(ctx, filepath.Join(dir, stack.ScratchConfigName), strings.NewReader(stack.ScratchConfig(string(kind), where)), 0o600); err != nil {
		return err
	}
	return m.Start(ctx, string(kind), agent.Command{Args: append([]string{"strata-node"}, stack.ScratchNodeArgs(string(kind), dir)...)})
}

// endNode ends it.
func (m *labMachine) endNode(ctx context.Context, kind disk.Kind) error {
	if err := m.Signal(ctx, string(kind), unix.SIGTERM); err != nil {
		return err
	}
	_, err := m.Wait(ctx, string(kind))
	return err
}

// do lets the program in the machine measure.
func (m *labMachine) do(ctx context.Context, o sides.Order) (a sides.Answer, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	r, err := m.Exec(ctx, agent.Command{Args: []string{"inside"}, Stdin: body})
	if err != nil {
		return a, err
	}
	if r.Code != 0 {
		log, err := m.Log(ctx, string(o.Kind))
		lines := strings.Split(strings.TrimSpace(log), "\n")
		return a, errors.Join(fmt.Errorf("in the machine: %s; the node's log ends:\n%s", bytes.TrimSpace(r.Stderr), strings.Join(lines[max(0, len(lines)-20):], "\n")), err)
	}
	return a, json.Unmarshal(r.Stdout, &a)
}

// fio runs a workload in a directory of the machine.
func (m *labMachine) fio(ctx context.Context, w workload, dir string, p labPlan, fresh bool) (block, error) {
	if fresh {
		if _, err := m.Run(ctx, "rm", "-f", filepath.Join(dir, dataFile)); err != nil {
			return block{}, err
		}
	}
	out, err := m.Run(ctx, append([]string{"fio"}, fioArgs(w, dir, p.fileSize, p.fioTime)...)...)
	if err != nil {
		return block{}, err
	}
	return fioResult([]byte(out), w)
}

// end turns the machine off. A kernel that said that it is broken has measured nothing.
func (m *labMachine) end() error {
	faults, err := m.Faults()
	if len(faults) > 0 {
		err = errors.Join(err, fmt.Errorf("the kernel of the emulated machine is not well: %s", strings.Join(faults, "\n")))
	}
	return errors.Join(err, m.Kill())
}
