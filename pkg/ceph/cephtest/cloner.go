package cephtest

// The manager's cloner threads, which are the test's, and their queue: a symbolic link for each clone, which the cloner removes a moment
// after it has written that the clone has ended. See fs/async_cloner.py and fs/operations/clone_index.py of the manager's module.

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// indexDir is the queue.
const indexDir = volumesDir + "/_index/clone"

// clone is an entry of the queue, which its source keeps a record of.
type clone struct {
	source
	id          string // the link's name
	group, name string // the target
}

func (c *clone) base() string { return strings.Join([]string{volumesDir, c.group, c.name}, "/") }

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

// HoldQueue keeps what has ended in the queue of clones while on is true. Else it is struck off after the next look at the queue, or
// with the cloner's next step.
func (c *Cluster) HoldQueue(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holdQueue = on
}

// FinishClones is a step of the cloner: it strikes off what had ended, finishes all other clones, and returns how many these were.
func (c *Cluster) FinishClones() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, f := range c.fs {
		n += c.finish(f)
	}
	return n
}

// finish goes through the queue, oldest first. It doesn't get past an entry that can't be processed: the cloner takes that again and again.
func (c *Cluster) finish(f *filesystem) (n int) {
	for _, job := range f.queue() {
		s := f.target(job)
		switch {
		case s == nil:
			return n
		case !s.ended():
			f.copyData(job)
			s.state = complete
			n++
		case c.holdQueue:
		case !f.strike(job):
			return n
		}
	}
	return n
}

// settle strikes off what has ended: each clone is still with the thread that copied it.
func (c *Cluster) settle(f *filesystem) {
	for _, job := range f.queue() {
		if s := f.target(job); s != nil && s.ended() && !c.holdQueue {
			f.strike(job)
		}
	}
}

// StepClone takes a clone one state further, pending to in-progress to complete, and returns its new state.
func (c *Cluster) StepClone(fs, group, name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.filesystem(fs)
	job, s := f.running(group, name)
	if job == nil {
		return "", fmt.Errorf("cephtest: no clone to %s/%s is waiting or running", group, name)
	}
	if s.state == pending {
		s.state = inProgress
	} else {
		f.copyData(job)
		s.state = complete
	}
	return s.state, nil
}

// FailClone ends a clone with an error of the cloner.
func (c *Cluster) FailClone(fs, group, name string, errno syscall.Errno, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, s := c.filesystem(fs).running(group, name); s != nil {
		s.state, s.errno, s.message = failed, errno, message
	}
}

// Clones is how many clones of a file system haven't ended.
func (c *Cluster) Clones(fs string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.filesystem(fs)
	for _, job := range f.queue() {
		if s := f.target(job); s != nil && !s.ended() {
			n++
		}
	}
	return n
}

// queue are the entries that have their link, oldest first.
func (f *filesystem) queue() (jobs []*clone) {
	for _, job := range f.clones {
		if f.linked(job) {
			jobs = append(jobs, job)
		}
	}
	return jobs
}

func (f *filesystem) linked(job *clone) bool {
	n, err := f.lookup(indexDir + "/" + job.id)
	return err == nil && n.link == job.base()
}

// target is the clone that an entry's link points at; nil when no clone is there any more.
func (f *filesystem) target(job *clone) *meta {
	n, err := f.lookup(job.base())
	if err != nil || n.meta == nil || n.meta.kind != "clone" || n.meta.state == retained {
		return nil
	}
	return n.meta
}

// running is an entry and its clone that hasn't ended.
func (f *filesystem) running(group, name string) (*clone, *meta) {
	for _, job := range f.queue() {
		if s := f.target(job); job.group == group && job.name == name && s != nil && !s.ended() {
			return job, s
		}
	}
	return nil, nil
}

func (s *meta) ended() bool { return s.state != pending && s.state != inProgress }

// enqueue puts a clone into the queue and into its source's record.
func (m *command) enqueue(job *clone) {
	job.id = newUUID()
	m.mkdirs(indexDir, 0o755).add(job.id, &node{link: job.base(), created: m.cluster.now()})
	m.fs.clones = append(m.fs.clones, job)
}

// strike removes an entry of a clone that has ended, and the source's record of it. It can't when the clone has lost its own record of
// the source, which goes with the first entry of it.
func (f *filesystem) strike(job *clone) bool {
	s := f.target(job)
	if s.source == nil {
		return false
	}
	index, err := f.lookup(indexDir)
	if err != nil {
		return false
	}
	delete(index.children, job.id)
	f.clones = slices.DeleteFunc(f.clones, func(c *clone) bool { return c == job })
	if s.state == complete {
		s.source = nil
	}
	return true
}
