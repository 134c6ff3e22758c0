package main

// A round of part cold: every row once, on each of its sides.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/s3"
)

// round measures every row once.
func (c *coldRun) round(ctx context.Context, round int) error {
	dir := func(s coldSide) string { return fmt.Sprintf("%s-%d", coldDirs[s], round) }
	// What the raw client writes is what all read: no other has it in its cache.
	key := dir(raw) + "/" + largeFile
	large := func(s coldSide) string { return filepath.Join(c.clients[s].path(), key) }
	read := func(s coldSide) (block, error) {
		return timed(float64(c.large)/1e6, func() error { return readFile(large(s), c.large) })
	}
	prefix := dir(raw) + "/" + smallDir + "/"
	small := func(s coldSide) string { return filepath.Join(c.clients[s].path(), prefix) }
	files, keys := float64(c.small), float64(c.coldPlan.keys)
	for _, row := range []struct {
		*coldFigure
		before func(s coldSide) error // not measured, and not of the raw client
		do     func(s coldSide) (block, error)
		raw    func() (block, error)
	}{
		{c.write, func(s coldSide) error {
			return errors.Join(c.remount(ctx, s), os.MkdirAll(filepath.Join(c.clients[s].path(), dir(s)), 0o755))
		}, func(s coldSide) (block, error) {
			return timed(float64(c.large)/1e6, func() error {
				name := dir(s) + "/" + largeFile
				if err := writeFile(filepath.Join(c.clients[s].path(), name), c.raw.content, c.large, true); err != nil {
					return err
				}
				return c.arrived(ctx, func() (bool, error) {
					o, err := c.raw.Head(ctx, name)
					if errors.Is(err, s3.ErrNotFound) {
						return false, nil
					}
					return o.Size == c.large, err
				})
			})
		}, func() (block, error) {
			return timed(float64(c.large)/1e6, func() error { return c.raw.write(ctx, key, c.large) })
		}},
		{c.read, func(s coldSide) error { return c.remount(ctx, s) }, read, func() (block, error) {
			return timed(float64(c.large)/1e6, func() error { return c.raw.read(ctx, key, c.large) })
		}},
		{c.again, func(s coldSide) error {
			if !c.mounted[s] { // which nobody has read through yet
				if err := errors.Join(c.remount(ctx, s), readFile(large(s), c.large)); err != nil {
					return err
				}
			}
			return dropPages(large(s))
		}, read, nil},
		{c.disk, func(s coldSide) error {
			return errors.Join(c.unmount(ctx, s), dropCache(c.clients[s].cache()), c.remount(ctx, s))
		}, read, nil},
		{c.remounted, func(s coldSide) error { return c.remount(ctx, s) }, read, nil},
		{c.coldRows.random, func(coldSide) error { return nil }, func(s coldSide) (block, error) {
			return randomRead(ctx, large(s), c.large, c.coldPlan.random)
		}, nil},
		{c.create, func(s coldSide) error {
			return os.MkdirAll(filepath.Join(c.clients[s].path(), dir(s), smallDir), 0o755)
		}, func(s coldSide) (block, error) {
			return timed(files, func() error {
				to := dir(s) + "/" + smallDir + "/"
				for i := range c.small {
					if err := writeFile(filepath.Join(c.clients[s].path(), to, fileName(i)), c.raw.content, smallSize, false); err != nil {
						return err
					}
				}
				return c.arrived(ctx, func() (bool, error) {
					n, err := c.raw.list(ctx, to, smallSize)
					return n == c.small, err
				})
			})
		}, func() (block, error) {
			return timed(files, func() error { return c.raw.put(ctx, prefix, c.small, smallSize) })
		}},
		{c.list, func(s coldSide) error { return c.remount(ctx, s) }, func(s coldSide) (block, error) {
			return timed(files, func() error { _, err := listNames(small(s), c.small); return err })
		}, func() (block, error) {
			return timed(files, func() error { return c.listed(ctx, prefix, c.small, smallSize) })
		}},
		{c.stat, func(s coldSide) error { return c.remount(ctx, s) }, func(s coldSide) (block, error) {
			return timed(files, func() error { return listAll(small(s), c.small, smallSize) })
		}, func() (block, error) {
			return timed(files, func() error { return c.listed(ctx, prefix, c.small, smallSize) })
		}},
		{c.later, func(s coldSide) error { return c.remount(ctx, s) }, func(s coldSide) (block, error) {
			return timed(files, func() error { return listThenLook(small(s), c.small, smallSize) })
		}, func() (block, error) {
			return timed(files, func() error { return c.listed(ctx, prefix, c.small, smallSize) })
		}},
		{c.fetch, func(coldSide) error { return nil }, func(s coldSide) (block, error) {
			return timed(files, func() error {
				for i := range c.small {
					if err := readFile(filepath.Join(small(s), fileName(i)), smallSize); err != nil {
						return err
					}
				}
				return nil
			})
		}, func() (block, error) {
			return timed(files, func() error { return c.raw.get(ctx, prefix, c.small, smallSize) })
		}},
		{c.coldRows.keys, func(s coldSide) error { return c.remount(ctx, s) }, func(s coldSide) (block, error) {
			return timed(keys, func() error { return listAll(filepath.Join(c.clients[s].path(), keysDir), c.coldPlan.keys, keySize) })
		}, func() (block, error) {
			return timed(keys, func() error { return c.listed(ctx, keysDir+"/", c.coldPlan.keys, keySize) })
		}},
	} {
		if err := c.compare(ctx, round, row.coldFigure, row.before, row.do, row.raw); err != nil {
			return fmt.Errorf("%s: %w", row.Name, err)
		}
	}
	for _, s := range c.write.of { // it is large, and nobody needs it any more
		if err := c.raw.Delete(ctx, dir(s)+"/"+largeFile); err != nil {
			return err
		}
	}
	return c.unmount(ctx, immutable)
}

// compare lets the sides of a row take turns.
func (c *coldRun) compare(ctx context.Context, round int, f *coldFigure, before func(coldSide) error, do func(coldSide) (block, error), rawDo func() (block, error)) error {
	var all []func() error
	for i, side := range f.of {
		all = append(all, func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			measured := rawDo
			if side != raw {
				if err := before(side); err != nil {
					return fmt.Errorf("%s: %w", coldNames[side], err)
				}
				measured = func() (block, error) { return do(side) }
			}
			// What others have left to write must not slow this one down.
			unix.Sync()
			got, err := measured()
			if err != nil {
				return fmt.Errorf("%s: %w", coldNames[side], err)
			}
			f.Sides[i].rounds = append(f.Sides[i].rounds, got)
			return nil
		})
	}
	if err := turns(round, all...); err != nil {
		return err
	}
	var said []string
	for _, s := range f.Sides {
		said = append(said, fmt.Sprintf("%s %.0f", s.Name, s.rounds[round].rate))
	}
	c.Step("cold, round %d: %s, %s: %s", round+1, f.Name, f.Unit, strings.Join(said, ", "))
	return nil
}

// timed is the rate of so much of something.
func timed(amount float64, do func() error) (block, error) {
	began := time.Now()
	if err := do(); err != nil {
		return block{}, err
	}
	return block{rate: amount / time.Since(began).Seconds()}, nil
}

// remount mounts a client anew.
func (c *coldRun) remount(ctx context.Context, s coldSide) error {
	if err := c.unmount(ctx, s); err != nil {
		return err
	}
	if err := c.clients[s].mount(ctx); err != nil {
		return err
	}
	c.mounted[s] = true
	return nil
}

// unmount takes the mount of a client away if there is one, and remembers how much memory it had.
func (c *coldRun) unmount(ctx context.Context, s coldSide) error {
	if !c.mounted[s] {
		return nil
	}
	processes, err := c.clients[s].processes()
	if err != nil {
		return err
	}
	for _, pid := range processes {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return err
		}
		peak, err := peakMemory(string(status))
		if err != nil {
			return fmt.Errorf("process %d: %w", pid, err)
		}
		c.peak[s] = max(c.peak[s], peak)
	}
	c.mounted[s] = false
	return c.clients[s].unmount(ctx)
}

// arrived waits until what was written is complete on the server: not every client waits for that.
func (c *coldRun) arrived(ctx context.Context, complete func() (bool, error)) error {
	for began := time.Now(); ; {
		ok, err := complete()
		if ok || err != nil {
			return err
		}
		if time.Since(began) > time.Minute {
			return errors.New("what was written doesn't arrive on the server")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// listed lists with the raw client.
func (c *coldRun) listed(ctx context.Context, prefix string, count int, size int64) error {
	got, err := c.raw.list(ctx, prefix, size)
	if err == nil && got != count {
		err = fmt.Errorf("%d objects of the size, not %d", got, count)
	}
	return err
}
