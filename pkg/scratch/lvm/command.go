package lvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/strata-csi/strata/pkg/volume"
)

// configuration is what our commands do otherwise than the node's lvm.conf(5) says:
// no udev (see the package), no dmeventd, no backup of the metadata for every scratch volume, and nothing asked about old signatures.
const configuration = `activation{udev_sync=0 udev_rules=0 monitoring=0} backup{backup=0 archive=0} devices{obtain_device_list_from_udev=0 issue_discards=0} ` +
	`allocation{wipe_signatures_when_zeroing_new_lvs=0}`

// runner runs one LVM command and returns what it printed.
type runner interface {
	run(ctx context.Context, command string, args ...string) ([]byte, error)
}

// program is the real lvm(8).
type program struct{ path string }

// findProgram looks where Debian and others install it; the environment has no say in what root executes.
func findProgram() (program, error) {
	dirs := []string{"/usr/sbin", "/sbin"}
	for _, d := range dirs {
		p := filepath.Join(d, "lvm")
		if s, err := os.Stat(p); err == nil && s.Mode().IsRegular() && s.Mode()&0o111 != 0 {
			return program{p}, nil
		}
	}
	return program{}, fmt.Errorf("%w: lvm is not in %s: install lvm2", volume.ErrPrecondition, strings.Join(dirs, ", "))
}

// run is ended by SIGINT when ctx ends, which lvm takes at points where its metadata are whole.
func (p program) run(ctx context.Context, command string, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	all := append([]string{command, "--config", configuration}, args...)
	cmd := exec.CommandContext(ctx, p.path, all...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1"}
	cmd.Dir = "/"
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if err == nil {
		return out.Bytes(), nil
	}
	return out.Bytes(), failed(ctx, command, args, errs.String(), err)
}

// failed is the error of a command, of the kind that its words tell. LVM has one exit code for all failures (5, ECMD_FAILED).
func failed(ctx context.Context, command string, args []string, stderr string, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		err = errors.Join(cerr, err)
	}
	text := strings.Join(strings.Fields(stderr), " ")
	const most = 1000
	if len(text) > most {
		text = "..." + text[len(text)-most:]
	}
	err = fmt.Errorf("lvm %s %s: %w: %s", command, strings.Join(args, " "), err, text)
	for _, c := range []struct {
		words string
		is    error
	}{
		{"insufficient free space", volume.ErrExhausted},
		{"Insufficient free space", volume.ErrExhausted},
		{"insufficient suitable allocatable extents", volume.ErrExhausted},
		{"Insufficient suitable allocatable extents", volume.ErrExhausted},
		{"in use", volume.ErrUnavailable},
		{"while PVs are missing", volume.ErrUnavailable},
		{"contains a filesystem", volume.ErrUnavailable},
		{"already exists in volume group", volume.ErrExists},
		{"Failed to find logical volume", volume.ErrNotFound},
		{`Volume group "`, volume.ErrUnavailable}, // not found, or can't be processed
	} {
		if strings.Contains(text, c.words) {
			return fmt.Errorf("%w: %w", c.is, err)
		}
	}
	return err
}
