package cephtest

// What a test does to clones: the manager's cloner threads are the test's.

import (
	"fmt"
	"syscall"
)

// AutoClone makes every clone finish with the command that begins it, those waiting included. Without it they wait for the test.
func (c *Cluster) AutoClone(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.auto = on
	if on {
		for _, f := range c.fs {
			c.finish(f)
		}
	}
}

// FinishClones finishes all clones of all file systems and returns how many there were.
func (c *Cluster) FinishClones() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, f := range c.fs {
		n += len(f.clones)
		c.finish(f)
	}
	return n
}

func (c *Cluster) finish(f *filesystem) {
	for len(f.clones) > 0 {
		next := f.clones[0]
		f.copyData(next)
		f.end(next.group, next.name, complete, 0, "")
	}
}

// StepClone takes a clone one state further, pending to in-progress to complete, and returns its new state.
func (c *Cluster) StepClone(fs, group, name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.filesystem(fs)
	_, job := f.find(group, name)
	if job == nil {
		return "", fmt.Errorf("cephtest: no clone to %s/%s is waiting or running", group, name)
	}
	n, err := f.lookup(volumesDir + "/" + group + "/" + name)
	if err != nil {
		return "", err
	}
	if n.meta.state == pending {
		n.meta.state = inProgress
		return inProgress, nil
	}
	f.copyData(job)
	f.end(group, name, complete, 0, "")
	return complete, nil
}

// FailClone ends a clone with an error of the cloner.
func (c *Cluster) FailClone(fs, group, name string, errno syscall.Errno, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.filesystem(fs).end(group, name, failed, errno, message)
}

// Clones is how many clones of a file system haven't ended.
func (c *Cluster) Clones(fs string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.filesystem(fs).clones)
}
